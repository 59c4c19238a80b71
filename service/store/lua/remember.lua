-- Plays again that a keyed call has changed nothing: how it ended is remembered among those before
-- and after it. Stands behind replay.lua.
--
-- ARGV[13]  how it ended, as remember() keeps it (MessagePack)
-- Answers   {'ok'} | what a replay answers

local s = load()
if not s or s.gen ~= GEN or s.rev < REPLAY.follows then return misfit(s) end
if recall(s) then return {'known', s.rev} end

keep_call(s, REPLAY.follows, unpack(cmsgpack.unpack(ARGV[13])))
set_expiry(s)
redis.call('LSET', LOG, CALLS_AT, s.calls)
return {'ok'}
