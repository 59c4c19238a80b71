-- The elements of LOG behind its head: messages, and chunks of consecutive ones. Stands after
-- session.lua; chunks are made by the service (chunks.py), and here only their heads are read:
--
-- first seq (6) .. first at (6) .. mark (1) .. last seq (6) .. size (4) .. n (2) .. n gaps (6 each)
--
-- The mark is lower than any byte that JSON begins with. A gap is a seq between first and last that
-- is not held. The size is that of the texts, 0 = not known.

local CHUNK_HEAD, CHUNK_HEAD_BYTES = '>I6I6BI6I4I2', 25
local MARK_BYTE, FIRST_OF_JSON, PREFIX_BYTES, SEQ_BYTES = 13, 32, 12, 6
local TOMBSTONE = '-'  -- no element of the list is that short
local SLICE_OF_ELEMENTS = 100

local function is_chunk(element)
  return (string.byte(element, MARK_BYTE) or FIRST_OF_JSON) < FIRST_OF_JSON
end

local function first_of(element)
  return (struct.unpack('>I6', element))
end

local function at_of(element)
  return (struct.unpack('>I6', element, 7))
end

local function last_of(element)
  return (struct.unpack('>I6', element, is_chunk(element) and MARK_BYTE + 1 or 1))
end

-- How many messages an element holds, and the bytes of their texts (0 = not known).
local function weigh(element)
  if not is_chunk(element) then return 1, #element - PREFIX_BYTES end
  local first, _, _, last, size, gaps = struct.unpack(CHUNK_HEAD, element)
  return last - first + 1 - gaps, size
end

local function element_count()
  return redis.call('LLEN', LOG) - HEAD
end

local function element(index)
  return redis.call('LINDEX', LOG, HEAD + index)
end

-- The newest element but so many.
local function element_before(newer)
  return redis.call('LINDEX', LOG, -1 - newer)
end

-- The first index whose element has field(element) >= bound: steps back from the end, where most
-- of what is asked for is near, then bisects.
local function first_index(field, bound)
  local high, step = element_count(), 1
  local low = high
  while low > 0 and field(element(low - 1)) >= bound do
    high, low, step = low - 1, math.max(0, low - 1 - step), step * 2
  end
  while low < high do
    local middle = math.floor((low + high) / 2)
    if field(element(middle)) < bound then low = middle + 1 else high = middle end
  end
  return low
end

-- The seqs that an element holds, in order.
local function held_in(element)
  if not is_chunk(element) then return {first_of(element)} end
  local first, _, _, last, _, gaps = struct.unpack(CHUNK_HEAD, element)
  local is_gap, seqs = {}, {}
  for i = 0, gaps - 1 do
    is_gap[struct.unpack('>I6', element, CHUNK_HEAD_BYTES + 1 + i * SEQ_BYTES)] = true
  end
  for seq = first, last do
    if not is_gap[seq] then seqs[#seqs + 1] = seq end
  end
  return seqs
end

-- A chunk that holds only some of its messages, at least one. Its body stays: the service makes
-- it anew when it hears of that.
local function narrowed(chunk, seqs)
  local gaps = {}
  for i = 2, #seqs do
    for seq = seqs[i - 1] + 1, seqs[i] - 1 do gaps[#gaps + 1] = struct.pack('>I6', seq) end
  end
  local _, at, mark, _, _, before = struct.unpack(CHUNK_HEAD, chunk)
  local body = string.sub(chunk, CHUNK_HEAD_BYTES + 1 + before * SEQ_BYTES)
  return struct.pack(CHUNK_HEAD, seqs[1], at, mark, seqs[#seqs], 0, #gaps)
    .. table.concat(gaps) .. body
end

-- Whether any element may be a chunk. If not, each holds one message, and all are held.
local function has_chunks(s)
  return s.sealed >= s.first
end

-- How many messages the elements in from..to-1 hold.
local function messages_among(s, from, to)
  if not has_chunks(s) then return to - from end
  local messages = 0
  for first = from, to - 1, SLICE_OF_ELEMENTS do
    local last = math.min(to, first + SLICE_OF_ELEMENTS) - 1
    for _, one in ipairs(redis.call('LRANGE', LOG, HEAD + first, HEAD + last)) do
      messages = messages + weigh(one)
    end
  end
  return messages
end

-- Takes the oldest elements off. The head goes with them and is put back: none is read.
local function drop_elements(count)
  if count <= 0 then return end
  local head = redis.call('LRANGE', LOG, 0, HEAD - 1)
  redis.call('LTRIM', LOG, HEAD + count, -1)
  redis.call('LPUSH', LOG, head[3], head[2], head[1])
end

-- Takes off the elements of which nothing is held any more.
local function sweep(s)
  local oldest = element(0)
  if oldest and last_of(oldest) < s.first then drop_elements(first_index(last_of, s.first)) end
end

-- Forgets all elements; what follows is held from the next seq on.
local function clear(s)
  redis.call('LTRIM', LOG, 0, HEAD - 1)
  s.first, s.newest, s.count = s.last_seq + 1, s.last_seq, 0
end

-- The seq of the oldest message that is held from the nth of all that are (0 = the oldest).
local function nth_seq(s, n)
  if s.count == s.newest - s.first + 1 then return s.first + n end
  if not has_chunks(s) then return first_of(element(n)) end
  local index, skipped = first_index(last_of, s.first), 0
  while true do
    for _, seq in ipairs(held_in(element(index))) do
      if seq >= s.first then
        if skipped == n then return seq end
        skipped = skipped + 1
      end
    end
    index = index + 1
  end
end

-- Keeps the newest max_messages. Where there are chunks, what they hold too much of is left to the
-- next sweep: one each SWEEP_EVERY messages, and one when the last chunk is not held any more.
local SWEEP_EVERY = 64

local function trim(s, seq_before)
  local excess, had_chunks = s.count - s.max_messages, has_chunks(s)
  if excess <= 0 then return end
  s.first, s.count = nth_seq(s, excess), s.max_messages
  local is_due = math.floor(seq_before / SWEEP_EVERY) < math.floor(s.last_seq / SWEEP_EVERY)
  if not had_chunks then
    drop_elements(excess)
  elseif is_due or not has_chunks(s) then
    sweep(s)
  end
end

-- The seqs of the oldest and the newest message, false where there is none.
local function extent(s)
  if s.count == 0 then return false, false end
  return s.first, s.newest
end
