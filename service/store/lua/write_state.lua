-- Sets, deletes, then gets state values. Needs values.lua.
--
-- ARGV[13]   the state key whose own tag the conditions mean ('' = the session's tag)
-- ARGV[14]   most bytes of values to answer with; negative = a trial (mutation.lua)
-- ARGV[15]   ms until the keys that are set expire by themselves ('' = never)
-- ARGV[16..19]  how many sets, merges, deletes, gets; then in this order:
--            key and packed value of each set, the same of each merge (which was made of the value
--            that has a certain tag), that tag of each merge (6 bytes, '' = made of nothing),
--            key of each delete, key of each get
-- Answers    reply() .. {new keys, deleted keys, {value or false ...}, {key, its expiry, ...}}
--            {'moved', time, {value or false of each merge ...}, {key, its expiry, ...}}
--            (a tag is not what it should be)
--            {'absent'} (nothing there, nothing to set) | {'too_large', 'bytes'} | {'larger'}
--            | what ended() answers

local OWN_KEY, MOST_BYTES, KEY_TTL = ARGV[13], math.abs(ARGV[14]), tonumber(ARGV[15])
local IS_TRIAL = tonumber(ARGV[14]) < 0
local SETS, MERGES = tonumber(ARGV[16]), tonumber(ARGV[17])
local DELETES, GETS = tonumber(ARGV[18]), tonumber(ARGV[19])
local TAG_BYTES = 6
local FIRST_SET = 20
local FIRST_MERGE = FIRST_SET + 2 * SETS
local FIRST_TAG = FIRST_MERGE + 2 * MERGES
local FIRST_DELETE = FIRST_TAG + MERGES
local FIRST_GET = FIRST_DELETE + DELETES

local s = load()
local dead_keys = s and expired_key_count(s) or 0

-- Whether a key is there only because nobody has purged it.
local function is_dead(key)
  return dead_keys > 0 and has_expired(s, key)
end

local function value_tag(key)
  local value = s and not is_dead(key) and redis.call('HGET', STATE, key)
  return value and s.gen .. '-' .. string.format('%.0f', struct.unpack('>I6', value))
end

-- What the merges have to be made of; whether they were made of something else; and its bytes.
local function merged_values()
  local values, has_moved, bytes = {}, false, 0
  for i = 1, MERGES do
    local key, tag = ARGV[FIRST_MERGE + 2 * i - 2], ARGV[FIRST_TAG + i - 1]
    local value = s and not is_dead(key) and redis.call('HGET', STATE, key) or false
    values[i], bytes = value, bytes + (value and value_bytes(value) or 0)
    has_moved = has_moved or string.sub(value or '', 1, TAG_BYTES) ~= tag
    if bytes > MOST_BYTES then break end
  end
  return values, has_moved, bytes
end

-- What the call itself makes of keys: a value, or false.
local function changed_values()
  local changed = {}
  for i = FIRST_SET, FIRST_TAG - 1, 2 do changed[ARGV[i]] = ARGV[i + 1] end
  for i = FIRST_DELETE, FIRST_GET - 1 do changed[ARGV[i]] = false end
  return changed
end

-- What the gets find, told before anything is written: nil if it is more than an answer holds.
local function found_values(changed)
  local values, bytes = {}, 0
  for i = FIRST_GET, #ARGV do
    local value = changed[ARGV[i]]
    if value == nil then value = s and not is_dead(ARGV[i]) and redis.call('HGET', STATE, ARGV[i]) end
    values[#values + 1] = value or false
    bytes = bytes + (value and value_bytes(value) or 0)
    if bytes > MOST_BYTES then return nil end
  end
  return values
end

-- How many of the keys ARGV[from], ARGV[from + step] ... to are dead.
local function dead_among(from, to, step)
  local dead = 0
  for i = from, dead_keys > 0 and to or 0, step do dead = dead + (is_dead(ARGV[i]) and 1 or 0) end
  return dead
end

-- Gives the keys that are set an expiry of their own, or takes it; a merge keeps what there was.
local function set_expiries()
  local keys, ends = {}, {}
  for i = FIRST_SET, FIRST_MERGE - 1, 2 do
    keys[#keys + 1] = ARGV[i]
    if KEY_TTL then
      ends[#ends + 1] = NOW + KEY_TTL
      ends[#ends + 1] = ARGV[i]
    end
  end
  for i = FIRST_MERGE, dead_keys > 0 and FIRST_TAG - 1 or 0, 2 do
    if is_dead(ARGV[i]) then keys[#keys + 1] = ARGV[i] end
  end
  if s.expiring == 1 then
    in_slices(keys, 1, #keys, 1, function(from, to)
      redis.call('ZREM', EXPIRIES, unpack(keys, from, to))
    end)
  end
  in_slices(ends, 1, #ends, 2, function(from, to)
    redis.call('ZADD', EXPIRIES, unpack(ends, from, to))
    s.expiring = 1
  end)
end

local function set_values()
  local added = dead_among(FIRST_SET, FIRST_TAG - 1, 2)
  in_slices(ARGV, FIRST_SET, FIRST_TAG - 1, 2, function(from, to)
    added = added + redis.call('HSET', STATE, unpack(ARGV, from, to))
  end)
  set_expiries()
  return added
end

local function delete_values()
  local deleted = -dead_among(FIRST_DELETE, FIRST_GET - 1, 1)
  in_slices(ARGV, FIRST_DELETE, FIRST_GET - 1, 1, function(from, to)
    deleted = deleted + redis.call('HDEL', STATE, unpack(ARGV, from, to))
    if s.expiring == 1 then redis.call('ZREM', EXPIRIES, unpack(ARGV, from, to)) end
  end)
  return deleted
end

local function get_expiries()
  return expiries_among(s, FIRST_GET, #ARGV, 1)
end

local current = tag(s)
if OWN_KEY ~= '' then current = value_tag(OWN_KEY) end
local answer = ended(s, current)
if answer then
  if answer[1] ~= 'ok' then return answer end
  local found = found_values({})
  if not found then return IS_TRIAL and {'larger'} or {'too_large', 'bytes', 1} end
  answer[#answer + 1], answer[#answer + 2] = found, get_expiries()
  return answer
end
local values, has_moved, bytes = merged_values()
if bytes > MOST_BYTES then return passed(s, IS_TRIAL, 'bytes') end
if has_moved then
  return {'moved', NOW, values, expiries_among(s, FIRST_MERGE, FIRST_TAG - 1, 2)}
end
if not s and SETS + MERGES == 0 then return {'absent'} end
local found = found_values(GETS > 0 and changed_values() or {})
if not found then return passed(s, IS_TRIAL, 'bytes') end

local created = not s
s = s or create()
local added, deleted = set_values(), delete_values()
local changed = change_settings(s)
if (changed or SETS + MERGES > 0 or deleted > 0) and not created then advance(s) end
renew(s)
remember(s, OK, added, deleted)
commit(s)
return reply(s, 0, added, deleted, found, get_expiries())
