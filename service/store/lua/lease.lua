-- A lease: an advisory lock on a session's id. It needs no session, and goes on without one.
--
-- KEYS[1]  LEASE  a STRING: the token of who holds it; it expires when the lease does
-- ARGV[1]  'acquire' | 'extend' | 'release', ARGV[2] the token
-- ARGV[3]  of 'acquire' and 'extend': ms from now
-- Answers  {'ok', when it ends} | {'held', ms until the other's ends} | {'ok'} to 'release'
--          {'not_owner'} to 'extend' and 'release'
--
-- To acquire what the token holds already extends it, so a repetition is recognised. A full Redis
-- refuses SET, and takes PEXPIREAT and DEL.

local LEASE, OPERATION, TOKEN, TTL = KEYS[1], ARGV[1], ARGV[2], ARGV[3]

local function ends()
  local clock = redis.call('TIME')
  return clock[1] * 1000 + math.floor(clock[2] / 1000) + tonumber(TTL)
end

local holder = redis.call('GET', LEASE)

if OPERATION == 'acquire' and not holder then
  local at = ends()
  redis.call('SET', LEASE, TOKEN, 'PXAT', at)
  return {'ok', at}
end
if holder ~= TOKEN then
  if OPERATION == 'acquire' then return {'held', redis.call('PTTL', LEASE)} end
  return {'not_owner'}
end
if OPERATION == 'release' then
  redis.call('DEL', LEASE)
  return {'ok'}
end
local at = ends()
redis.call('PEXPIREAT', LEASE, at)
return {'ok', at}
