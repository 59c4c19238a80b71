-- Removes messages. Needs search.lua.
--
-- ARGV[13]  'all' | 'one' (of seq N) | 'before' (seq N) | 'last' (the newest N, which it answers)
-- ARGV[14]  N
-- ARGV[15]  most bytes of messages to answer with
-- Answers   reply() .. {removed, oldest seq held, newest seq held, {message ...}}
--           {'absent'} | {'too_large', 'bytes' or 'remembered'} | what ended() answers

local CUT, N, MOST_BYTES = ARGV[13], tonumber(ARGV[14]), tonumber(ARGV[15])
local TOMBSTONE = '-'  -- no header, ring or message is that short

-- Which messages go, as indices, both included.
local function range(count)
  if CUT == 'all' then return 0, count - 1 end
  if CUT == 'last' then return math.max(0, count - N), count - 1 end
  local index = index_of(count, N)
  if CUT == 'before' then return 0, index - 1 end
  local is_there = index < count and seq_at(HEAD + index) == N
  return index, is_there and index or index - 1
end

-- The messages that are to be answered, nil if they are too large.
local function popped(s, from, to)
  if CUT ~= 'last' or from > to then return {} end
  if s.largest * (to - from + 1) <= MOST_BYTES then
    return redis.call('LRANGE', LOG, HEAD + from, HEAD + to)
  end
  local elements, bytes = {}, 0
  for i = from, to do
    elements[#elements + 1] = message(i)
    bytes = bytes + #elements[#elements]
    if bytes > MOST_BYTES then return nil end
  end
  return elements
end

-- Takes the range off; all cuts but one are at an end of the list.
local function cut(s, from, to, count)
  if from > to then return end
  if to == count - 1 then
    redis.call('LTRIM', LOG, 0, HEAD + from - 1)
  elseif from == 0 then
    drop_oldest(to + 1)
  else
    set_expiry(s)
    redis.call('LSET', LOG, HEAD + from, TOMBSTONE)
    redis.call('LREM', LOG, from < count / 2 and 1 or -1, TOMBSTONE)
  end
end

-- What is removed may come again.
local function forget(s, first, last)
  if s.dedupe == '' then return end
  local ring = redis.call('LINDEX', LOG, RING_AT)
  local oldest = s.last_seq - #ring / DIGEST_BYTES + 1
  first = math.max(first, oldest)
  if first > last then return end
  local kept = string.sub(ring, 1, (first - oldest) * DIGEST_BYTES)
  local zeros = string.rep('\0', (last - first + 1) * DIGEST_BYTES)
  local rest = string.sub(ring, (last - oldest + 1) * DIGEST_BYTES + 1)
  redis.call('LSET', LOG, RING_AT, kept .. zeros .. rest)
end

local s = load()
local answer = ended(s, tag(s))
if answer then return answer end
if not s then return {'absent'} end

local count = message_count()
local from, to = range(count)
local elements = popped(s, from, to)
if not elements then return refuse(s, 'too_large', CALL_KEY == '' and 'bytes' or 'remembered') end
if from <= to then
  local first, last = seq_at(HEAD + from), seq_at(HEAD + to)
  cut(s, from, to, count)
  forget(s, first, last)
  advance(s)
end
renew(s)
local oldest, newest = oldest_seq(), newest_seq()
remember(s, 'ok', to - from + 1, oldest, newest, elements)
commit(s)
return reply(s, 0, to - from + 1, oldest, newest, elements)
