-- Makes a session out of the snapshot of another. Its settings come with the common arguments.
--
-- ARGV[13..21]  last seq, first, newest, count, last sealed, largest element, dedupe member, dedupe
--               ring, when the source was changed last
-- ARGV[22..24]  how many elements, state values, expiries; then in this order:
--               each element, key and value of each state key, ms and key of each expiry
-- Answers       reply() | {'exists'}

local ELEMENTS, VALUES, ENDS = tonumber(ARGV[22]), tonumber(ARGV[23]), tonumber(ARGV[24])
local FIRST_ELEMENT = 25
local FIRST_VALUE = FIRST_ELEMENT + ELEMENTS
local FIRST_END = FIRST_VALUE + 2 * VALUES

local found = load()
if REPLAY then
  local answer = misfit(found)
  if answer then return answer end
elseif found then
  return {'exists'}
end
local s = create()
change_settings(s)
s.last_seq, s.first, s.newest = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
s.count, s.sealed = tonumber(ARGV[16]), tonumber(ARGV[17])
s.largest, s.dedupe = tonumber(ARGV[18]), ARGV[19]
-- Times of messages only grow, though the clock of the server may have stepped back.
s.updated_at = math.max(NOW, tonumber(ARGV[21]))
s.expiring = ENDS > 0 and 1 or 0
fill(LOG, 'RPUSH', FIRST_ELEMENT, FIRST_VALUE - 1, 1)
fill(STATE, 'HSET', FIRST_VALUE, FIRST_END - 1, 2)
fill(EXPIRIES, 'ZADD', FIRST_END, #ARGV, 2)
redis.call('LSET', LOG, RING_AT, ARGV[20])
commit(s)
return reply(s, 0)
