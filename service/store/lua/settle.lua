-- The last step of a replay: gives a session the life that it was told to have, and another tag if
-- writes of it are lost for good. What they were told must not come to mean something else.
--
-- ARGV[1]  the gen, ARGV[2] the last revision that was told, ARGV[3] the ms at which it was renewed
-- ARGV[4]  a gen that no session has
-- Answers  {'ok', revisions that are missing} | {'absent'} | {'other'}

local GEN, REV, RENEWED_AT, NEW_GEN = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local s = load()
if not s then return {'absent'} end
if s.gen ~= GEN then return {'other'} end
local missing = math.max(0, REV - s.rev)
s.renewed_at = math.max(s.renewed_at, RENEWED_AT)
if missing > 0 then s.gen = NEW_GEN end
-- A full Redis takes PERSIST, and then the rest. Expiry last: if it has passed, the session ends here.
redis.call('PERSIST', LOG)
redis.call('LSET', LOG, 0, pack(s))
set_expiry(s)
return {'ok', missing}
