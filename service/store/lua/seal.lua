-- Puts a chunk in the place of the elements that it was made of. It changes nothing that a session
-- tells: the revision stays. Needs elements.lua.
--
-- ARGV[1]  the session's gen
-- ARGV[2]  the bytes that the first of the elements begins with, and that no other does
-- ARGV[3]  how many elements, ARGV[4] the last seq that they hold, ARGV[5] the chunk
-- Answers  {'ok'} | {'moved'} (these elements are not there any more)
--
-- Messages never change, and seqs are never given twice. So what begins with the same element and
-- ends with the same seq after as many single messages is the same, whoever wrote or removed
-- meanwhile.

local GEN, IDENTITY, ELEMENTS = ARGV[1], ARGV[2], tonumber(ARGV[3])
local LAST_SEQ, CHUNK = tonumber(ARGV[4]), ARGV[5]

local function place(s)
  local index = first_index(first_of, first_of(IDENTITY))
  local run = redis.call('LRANGE', LOG, HEAD + index, HEAD + index + ELEMENTS - 1)
  if #run < ELEMENTS or string.sub(run[1], 1, #IDENTITY) ~= IDENTITY then return nil end
  for i = 2, ELEMENTS do
    if is_chunk(run[i]) then return nil end
  end
  return last_of(run[ELEMENTS]) == LAST_SEQ and index or nil
end

local s = load()
if not s or s.gen ~= GEN then return {'moved'} end
local index = place(s)
if not index then return {'moved'} end

-- Expiry first: a full Redis takes it, and then the rest, which gives it room.
set_expiry(s)
redis.call('LSET', LOG, HEAD + index, CHUNK)
if index + ELEMENTS == element_count() then
  redis.call('LTRIM', LOG, 0, HEAD + index)
else
  for i = index + 1, index + ELEMENTS - 1 do redis.call('LSET', LOG, HEAD + i, TOMBSTONE) end
  if ELEMENTS > 1 then redis.call('LREM', LOG, 1 - ELEMENTS, TOMBSTONE) end
end
s.sealed = math.max(s.sealed, LAST_SEQ)
s.largest = math.max(s.largest, #CHUNK)
sweep(s)
redis.call('LSET', LOG, 0, pack(s))
return {'ok'}
