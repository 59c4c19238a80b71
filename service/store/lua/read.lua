-- Reads a session; its messages and state only if they are not those of the tag that is known.
--
-- ARGV[1]   the tag that the caller holds ('' = none)
-- ARGV[2]   most bytes to answer with, of messages and of state each
-- ARGV[3]   messages: 'none' | 'oldest' | 'newest' (which end of the window to begin at)
-- ARGV[4]   how many, ARGV[5] only seqs after, ARGV[6] only seqs before ('' = no bound),
-- ARGV[7]   only messages since (ms, '' = no bound)
-- ARGV[8]   state: 'none' | 'names' | 'all' | 'some'; ARGV[9] most keys of 'all'
-- ARGV[10..] the keys of 'some'
-- Answers   {'ok', time, header, messages, state keys, changed, is the same, window, state}
--           window = {first seq, last seq, older exist, newer exist, cut short, message ...}
--           {'absent'} | {'too_large', 'bytes' or 'keys'}

local KNOWN, MOST_BYTES, END, LIMIT = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local AFTER, BEFORE, SINCE = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local STATE_PART, MOST_KEYS, FIRST_KEY = ARGV[8], tonumber(ARGV[9]), 10
local RENEWAL_PAUSE_MS = 1000
local MOST_NAMES = 50000  -- of state keys that are listed: more would hold Redis for over 20 ms
local PREFIX_BYTES = 12   -- seq and at before the text of a message
local ALWAYS_FIT = 2      -- as many values cannot pass MOST_BYTES: each has at most half of it

local function message(index)
  return redis.call('LINDEX', LOG, HEAD + index)
end

local function at_of(element)
  return (struct.unpack('>I6', element, 7))
end

-- The first index in low..high whose message has field(message) >= bound.
local function lower_bound(low, high, field, bound)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if field(message(middle)) < bound then low = middle + 1 else high = middle end
  end
  return low
end

-- The first index whose seq is at least that. Seqs only grow, so where none was deleted both bounds
-- of the search are the answer: a look into the middle of a long log walks half of it.
local function index_of(count, seq)
  local oldest, newest = oldest_seq(), seq_of(redis.call('LINDEX', LOG, -1))
  local low = math.min(count, math.max(0, count - (newest - seq + 1)))
  local high = math.min(count, math.max(0, seq - oldest))
  return lower_bound(low, high, seq_of, seq)
end

-- The window as indices, both included.
local function window_bounds(count)
  local from, to = 0, count - 1
  if AFTER then from = index_of(count, AFTER + 1) end
  if SINCE then from = math.max(from, lower_bound(0, count, at_of, SINCE)) end
  if BEFORE then to = index_of(count, BEFORE) - 1 end
  if END == 'newest' then return math.max(from, to - LIMIT + 1), to end
  return from, math.min(to, from + LIMIT - 1)
end

-- Messages from..to in slices none of which can pass MOST_BYTES, until the next would not fit.
-- From the end 'newest' the result is in reverse.
local function collect(s, from, to)
  local step = math.max(1, math.floor(MOST_BYTES / math.max(1, s.largest)))
  local kept, bytes = {}, 0
  local function keep(element)
    bytes = bytes + #element - PREFIX_BYTES
    if bytes > MOST_BYTES then return false end
    kept[#kept + 1] = element
    return true
  end
  while from <= to do
    if END == 'newest' then
      local slice = redis.call('LRANGE', LOG, HEAD + math.max(from, to - step + 1), HEAD + to)
      for i = #slice, 1, -1 do
        if not keep(slice[i]) then return kept end
      end
      to = to - step
    else
      local slice = redis.call('LRANGE', LOG, HEAD + from, HEAD + math.min(to, from + step - 1))
      for i = 1, #slice do
        if not keep(slice[i]) then return kept end
      end
      from = from + step
    end
  end
  return kept
end

local function read_window(s)
  local count = message_count()
  if count == 0 then return {false, false, 0, 0, 0} end
  local from, to = window_bounds(count)
  local kept = collect(s, from, to)
  local n = #kept
  local window = {oldest_seq(), seq_of(redis.call('LINDEX', LOG, -1)), 0, 0, 0}
  if n < to - from + 1 then window[5] = 1 end
  if n > 0 then
    local first_index = END == 'newest' and to - n + 1 or from
    if first_index > 0 then window[3] = 1 end
    if first_index + n < count then window[4] = 1 end
  end
  for i = 1, n do window[5 + i] = END == 'newest' and kept[n - i + 1] or kept[i] end
  return window
end

local function is_too_large(keys, first)
  if #keys - first < ALWAYS_FIT then return false end
  local total = 0
  for i = first, #keys do total = total + redis.call('HSTRLEN', STATE, keys[i]) end
  return total > MOST_BYTES
end

local function read_some()
  if is_too_large(ARGV, FIRST_KEY) then return nil, 'bytes' end
  local values = {}
  in_slices(#ARGV - FIRST_KEY + 1, function(from, to)
    local got = redis.call('HMGET', STATE, unpack(ARGV, FIRST_KEY + from - 1, FIRST_KEY + to - 1))
    for _, value in ipairs(got) do values[#values + 1] = value end
  end)
  return values
end

local function read_names()
  if redis.call('HLEN', STATE) > MOST_NAMES then return nil, 'names' end
  return redis.call('HKEYS', STATE)
end

local function read_all()
  if is_too_large(redis.call('HKEYS', STATE), 1) then return nil, 'bytes' end
  return redis.call('HGETALL', STATE)
end

local function read_state()
  if STATE_PART == 'names' then return read_names() end
  if STATE_PART == 'all' then return read_all() end
  if STATE_PART == 'some' then return read_some() end
  return {}
end

local s = load()
if not s then return {'absent'} end

-- Told even to a caller who holds all of them: memory must not change an answer.
if STATE_PART == 'all' and redis.call('HLEN', STATE) > MOST_KEYS then
  return {'too_large', 'keys'}
end

local is_same = KNOWN == tag(s)
local window, state, problem = {}, {}, nil
if not is_same then
  state, problem = read_state()
  if problem then return {'too_large', problem} end
  if END ~= 'none' then window = read_window(s) end
end

if s.touch == 'access' and NOW - s.renewed_at >= RENEWAL_PAUSE_MS then
  local renewed_at = s.renewed_at
  s.renewed_at = NOW
  -- A server that takes no writes still answers reads.
  if not pcall(commit, s) then s.renewed_at = renewed_at end
end
return reply('ok', s, is_same and 1 or 0, window, state)
