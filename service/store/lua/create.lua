-- Makes a session out of the snapshot of another. Its settings come with the common arguments.
--
-- ARGV[13..16]  last seq, largest message, dedupe member, dedupe ring
-- ARGV[17..19]  how many messages, state values, expiries; then in this order:
--               each message, key and value of each state key, ms and key of each expiry
-- Answers       reply() | {'exists'}

local LAST_SEQ, LARGEST = tonumber(ARGV[13]), tonumber(ARGV[14])
local DEDUPE, RING = ARGV[15], ARGV[16]
local MESSAGES, VALUES, ENDS = tonumber(ARGV[17]), tonumber(ARGV[18]), tonumber(ARGV[19])
local FIRST_MESSAGE = 20
local FIRST_VALUE = FIRST_MESSAGE + MESSAGES
local FIRST_END = FIRST_VALUE + 2 * VALUES

local function fill(key, command, first, last, step)
  in_slices(ARGV, first, last, step, function(from, to)
    redis.call(command, key, unpack(ARGV, from, to))
  end)
end

if load() then return {'exists'} end
local s = create()
change_settings(s)
s.last_seq, s.largest, s.dedupe = LAST_SEQ, LARGEST, DEDUPE
s.expiring = ENDS > 0 and 1 or 0
fill(LOG, 'RPUSH', FIRST_MESSAGE, FIRST_VALUE - 1, 1)
-- Times of messages only grow, though the clock of the server may have stepped back.
if MESSAGES > 0 then
  s.updated_at = math.max(NOW, (struct.unpack('>I6', ARGV[FIRST_VALUE - 1], 7)))
end
fill(STATE, 'HSET', FIRST_VALUE, FIRST_END - 1, 2)
fill(EXPIRIES, 'ZADD', FIRST_END, #ARGV, 2)
redis.call('LSET', LOG, RING_AT, RING)
commit(s)
return reply(s, 0)
