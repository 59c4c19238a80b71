-- Tells of many sessions what a listing tells of each.
--
-- KEYS      all keys of each session, one session after the other; in a cluster of one slot.
-- ARGV[1]   how many keys a session has
-- Answers   {{header, state keys} or false where there is no session, ...}

local sessions = {}
for i = 1, #KEYS, tonumber(ARGV[1]) do
  LOG, STATE, EXPIRIES = KEYS[i], KEYS[i + 1], KEYS[i + 2]
  local s = load()
  sessions[#sessions + 1] = s and {s.header, state_key_count(s)} or false
end
return sessions
