-- Plays again that a keyed call has changed nothing: how it ended is remembered among those before
-- and after it. Stands behind replay.lua.
--
-- ARGV[13]  how it ended, as remember() keeps it (MessagePack)
-- Answers   {'ok'} | what a replay answers

local s = load()
if not s or s.gen ~= GEN or s.rev < REPLAY.follows then return misfit(s) end
if recall(s) then return {'known', s.rev} end

local calls = known_calls()
local place = #calls
while place > 0 and calls[place][4] > REPLAY.follows do place = place - 1 end
local ending = cmsgpack.unpack(ARGV[13])
table.insert(calls, place + 1, {CALL_KEY, FINGERPRINT, minute(s), REPLAY.follows, unpack(ending)})
if #calls > MOST_CALLS then table.remove(calls, 1) end
set_expiry(s)
redis.call('LSET', LOG, CALLS_AT, cmsgpack.pack(calls))
return {'ok'}
