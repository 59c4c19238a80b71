-- Deletes all state keys that begin with a prefix.
--
-- ARGV[13]  the prefix ('' = all keys)
-- Answers   reply() .. {deleted}
--           {'absent'} | {'too_large', 'prefix'} | what ended() answers

local PREFIX = ARGV[13]
local MOST_NAMES = 20000  -- more to compare and delete would hold Redis for over 20 ms

local function matching()
  local keys = {}
  for _, key in ipairs(redis.call('HKEYS', STATE)) do
    if string.sub(key, 1, #PREFIX) == PREFIX then keys[#keys + 1] = key end
  end
  return keys
end

local function delete(s, keys)
  in_slices(keys, 1, #keys, 1, function(from, to)
    redis.call('HDEL', STATE, unpack(keys, from, to))
    if s.expiring == 1 then redis.call('ZREM', EXPIRIES, unpack(keys, from, to)) end
  end)
end

local s = load()
local answer = ended(s, tag(s))
if answer then return answer end
if not s then return {'absent'} end

local before = state_key_count(s)
if PREFIX == '' then
  redis.call('UNLINK', STATE, EXPIRIES)
  s.expiring = 0
elseif redis.call('HLEN', STATE) > MOST_NAMES then
  return {'too_large', 'prefix', 0}
else
  delete(s, matching())
end
local deleted = before - state_key_count(s)
if deleted > 0 then advance(s) end
renew(s)
commit(s)
return reply(s, 0, deleted)
