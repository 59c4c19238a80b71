-- Makes a session out of a copy of its state, or gives that to one that is there. Its settings come
-- with the common arguments. Messages that are there stay. Needs elements.lua.
--
-- ARGV[13]  '1' = a session that is there loses its state for it
-- ARGV[14]  how many state values; then in this order:
--           key and value of each state key, ms and key of each expiry
-- Answers   reply() .. {is new} | {'exists'} | what ended() answers

local REPLACES, VALUES, FIRST_VALUE = ARGV[13] == '1', tonumber(ARGV[14]), 15
local FIRST_END = FIRST_VALUE + 2 * VALUES

-- Keyed calls stay known as long as they would have been: their minutes count from the creation.
local function shift_calls(s)
  local calls, passed = known_calls(), minute(s)
  for _, call in ipairs(calls) do call[3] = call[3] - passed end
  s.calls = #calls > 0 and cmsgpack.pack(calls) or ''
end

-- A session that begins anew in the place of one. Its revision goes on: no tag that a repeated call
-- is answered with may come again. Its first write is one that a full Redis refuses.
local function begin_anew(s)
  redis.call('LSET', LOG, 0, s.header)
  redis.call('UNLINK', STATE, EXPIRIES)
  shift_calls(s)
  advance(s)
  s.gen, s.created_at = GEN, NOW
end

local s = load()
local answer = ended(s, tag(s))
if answer then return answer end
if s and not REPLACES then return {'exists'} end

local is_new = not s
if s then begin_anew(s) else s = create() end
change_settings(s)
s.expiring = FIRST_END < #ARGV and 1 or 0
fill(STATE, 'HSET', FIRST_VALUE, FIRST_END - 1, 2)
fill(EXPIRIES, 'ZADD', FIRST_END, #ARGV, 2)
renew(s)
trim(s, -1)
commit(s)
return reply(s, 0, is_new and 1 or 0)
