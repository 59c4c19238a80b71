-- Removes everything of a session; the id is free at once, memory is given back in the background.
--
-- Answers   {'ok'} | {'precondition', tag or ''}

local s = load()
if is_refused(tag(s)) then return refusal(tag(s)) end
redis.call('UNLINK', LOG, STATE)
return {'ok'}
