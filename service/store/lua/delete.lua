-- Removes everything of a session; the id is free at once, memory is given back in the background.
--
-- KEYS[5]   the backup of its state
-- Answers   {'ok', the tag that it had or '', time} | what ended() answers
--
-- A replay removes what it finds of that life, at whichever revision, and no replay brings it back.

local s = load()
local answer = not REPLAY and ended(s, tag(s))
if answer then return answer end
if not REPLAY or s and s.gen == GEN then redis.call('UNLINK', LOG, STATE, EXPIRIES, KEYS[5]) end
if REPLAY then
  redis.call('SADD', GONE, GEN)
  redis.call('PEXPIRE', GONE, GONE_MS)
end
return {'ok', tag(s) or '', NOW}
