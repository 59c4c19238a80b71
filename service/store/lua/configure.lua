-- Creates a session, changes the settings of one, or only renews it.
--
-- ARGV[10]  '1' = create it if it is absent
-- Answers   {'ok', time, header, messages, state keys, changed, created}
--           {'absent'} | {'precondition', tag or ''}

local MAY_CREATE = ARGV[10] == '1'

local s = load()
if not s and not MAY_CREATE then return {'absent'} end
if is_refused(tag(s)) then return refusal(tag(s)) end

local created = not s
s = s or create()
local changed = change_settings(s)
if changed and not created then advance(s) end
renew(s)
trim(s)
commit(s)
return reply('ok', s, created and 1 or 0)
