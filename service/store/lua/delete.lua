-- Removes everything of a session; the id is free at once, memory is given back in the background.
--
-- KEYS[5]   the backup of its state
-- Answers   {'ok', time} | what ended() answers

local s = load()
local answer = ended(s, tag(s))
if answer then return answer end
redis.call('UNLINK', LOG, STATE, EXPIRIES, KEYS[5])
return {'ok', NOW}
