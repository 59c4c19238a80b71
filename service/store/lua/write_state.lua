-- Sets, deletes, then gets state values.
--
-- ARGV[10]   the state key whose own tag the conditions mean ('' = the session's tag)
-- ARGV[11]   most bytes of values to answer with
-- ARGV[12]   how many sets, ARGV[13] deletes, ARGV[14] gets; then in this order:
--            key and packed value of each set, key of each delete, key of each get
-- Answers    {'ok', time, header, messages, state keys, changed, new keys, deleted keys,
--             {value or false ...}}
--            {'absent'} (nothing there, nothing to set) | {'precondition', tag or ''} | {'too_large'}

local OWN_KEY, MOST_BYTES = ARGV[10], tonumber(ARGV[11])
local SETS, DELETES, GETS = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
local FIRST_SET = 15
local FIRST_DELETE = FIRST_SET + 2 * SETS
local FIRST_GET = FIRST_DELETE + DELETES

local function value_tag(s, key)
  local value = s and redis.call('HGET', STATE, key)
  return value and s.gen .. '-' .. string.format('%.0f', struct.unpack('>I6', value))
end

-- Bytes of the values that the gets will find, told before anything is written.
local function answer_bytes()
  local size, total = {}, 0
  for i = FIRST_SET, FIRST_DELETE - 1, 2 do size[ARGV[i]] = #ARGV[i + 1] end
  for i = FIRST_DELETE, FIRST_GET - 1 do size[ARGV[i]] = 0 end
  for i = FIRST_GET, #ARGV do
    total = total + (size[ARGV[i]] or redis.call('HSTRLEN', STATE, ARGV[i]))
  end
  return total
end

local function set_values(rev)
  local prefix, added = struct.pack('>I6', rev), 0
  for i = FIRST_SET + 1, FIRST_DELETE - 1, 2 do ARGV[i] = prefix .. ARGV[i] end
  in_slices(2 * SETS, function(from, to)
    added = added + redis.call('HSET', STATE, unpack(ARGV, FIRST_SET + from - 1, FIRST_SET + to - 1))
  end)
  return added
end

local function delete_values()
  local deleted = 0
  in_slices(DELETES, function(from, to)
    deleted = deleted
      + redis.call('HDEL', STATE, unpack(ARGV, FIRST_DELETE + from - 1, FIRST_DELETE + to - 1))
  end)
  return deleted
end

local function get_values()
  local values = {}
  in_slices(GETS, function(from, to)
    local got = redis.call('HMGET', STATE, unpack(ARGV, FIRST_GET + from - 1, FIRST_GET + to - 1))
    for _, value in ipairs(got) do values[#values + 1] = value end
  end)
  return values
end

local s = load()
local current = tag(s)
if OWN_KEY ~= '' then current = value_tag(s, OWN_KEY) end
if is_refused(current) then return refusal(current) end
if not s and SETS == 0 then return {'absent'} end
if GETS > 0 and answer_bytes() > MOST_BYTES then return {'too_large'} end

local created = not s
s = s or create()
local rev = created and 1 or s.rev + 1
local added = SETS > 0 and set_values(rev) or 0
local deleted = delete_values()
local changed = change_settings(s)
if (changed or SETS > 0 or deleted > 0) and not created then advance(s) end
renew(s)
trim(s)
commit(s)
return reply('ok', s, added, deleted, get_values())
