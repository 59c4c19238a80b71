-- Answers what stands behind the last chunk of a session, with that chunk: what sealing is made of.
-- No use of the session: nothing is renewed. Needs elements.lua.
--
-- ARGV[1]  only elements that hold this seq or later ones
-- ARGV[2]  most elements, at least 2; ARGV[3] about how many bytes of them
-- Answers  {'ok', gen, newest seq, {element ...}} | {'absent'}

local SEQ, MOST, MOST_BYTES = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local s = load()
if not s then return {'absent'} end
local from = HEAD + first_index(last_of, math.max(SEQ, s.sealed, s.first))
local count = math.max(2, math.min(MOST, math.floor(MOST_BYTES / math.max(1, s.largest))))
return {'ok', s.gen, s.newest, redis.call('LRANGE', LOG, from, from + count - 1)}
