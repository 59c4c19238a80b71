-- The last steps of a replay: gives a session the life that it was told to have, and another tag if
-- writes of it are lost for good. What they were told must not come to mean something else.
--
-- ARGV[1]  the gen, ARGV[2] the last revision that was told, ARGV[3] the ms at which it was renewed
-- ARGV[4]  a gen that no session has
-- ARGV[5]  '1' = all have told how it was renewed: if its time is over, it ends
-- Answers  {'ok', is its time over} | {'absent'} | {'other'}

local GEN, REV, RENEWED_AT, NEW_GEN = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local IS_LAST = ARGV[5] == '1'

local s = load()
if not s then return {'absent'} end
if s.gen ~= GEN then return {'other'} end
s.renewed_at = math.max(s.renewed_at, RENEWED_AT)
if s.rev < REV then s.gen = NEW_GEN end
local is_over = expires_at(s) <= NOW
if is_over and IS_LAST then
  redis.call('UNLINK', LOG, STATE, EXPIRIES)
  return {'ok', 1}
end
-- Expiry first: a full Redis takes it, and then the rest.
if is_over then redis.call('PEXPIRE', LOG, REPLAYED_MS) else set_expiry(s) end
redis.call('LSET', LOG, 0, pack(s))
return {'ok', is_over and 1 or 0}
