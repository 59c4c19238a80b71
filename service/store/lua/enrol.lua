-- Enrols a process among those that write to this Redis, and tells who they are.
--
-- KEYS[1]  EPOCH      a STRING that comes to be with the first process: who misses it, and knew it, has
--                     a Redis that has lost its memory
-- KEYS[2]  PROCESSES  a ZSET: the id of each process, by the ms at which it was here last
-- KEYS[3]  NEWS       never there: that it was touched is told to all who track changes, so that they
--                     know a newcomer before he has written anything
-- ARGV[1]  an epoch if there is none, ARGV[2] the id, ARGV[3] ms after which a silent one is forgotten
-- Answers  {epoch, {id, ...}}

local EPOCH, PROCESSES, NEWS = KEYS[1], KEYS[2], KEYS[3]

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- Removing comes first: a full Redis takes it, and then the rest.
redis.call('ZREMRANGEBYSCORE', PROCESSES, '-inf', now - ARGV[3])
if redis.call('ZADD', PROCESSES, now, ARGV[2]) == 1 then
  redis.call('SET', NEWS, '')
  redis.call('DEL', NEWS)
end
redis.call('SET', EPOCH, ARGV[1], 'NX')
return {redis.call('GET', EPOCH), redis.call('ZRANGE', PROCESSES, 0, -1)}
