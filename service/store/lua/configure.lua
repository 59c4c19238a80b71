-- Creates a session, changes the settings of one, or only renews it. Needs elements.lua.
--
-- ARGV[13]  '1' = create it if it is absent
-- Answers   reply() .. {created}
--           {'absent'} | what ended() answers

local MAY_CREATE = ARGV[13] == '1'

local s = load()
if not s and not MAY_CREATE then return {'absent'} end
local answer = ended(s, tag(s))
if answer then return answer end

local created = not s
s = s or create()
local changed = change_settings(s)
if changed and not created then advance(s) end
renew(s)
trim(s, -1)
commit(s)
return reply(s, 0, created and 1 or 0)
