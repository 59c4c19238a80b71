-- Reads a session; its messages and state only if they are not those of the tag that is known.
-- Needs elements.lua, search.lua and values.lua.
--
-- KEYS[4]   the backup of its state, if the caller wants to know whether there is one
-- ARGV[1]   the tag that the caller holds ('' = none)
-- ARGV[2]   most bytes to answer with, of texts and of state each: what does not fit is left out,
--           and so is what is beyond MOST_ELEMENTS; negative = a trial, which may bring no value
-- ARGV[3]   messages: 'none' | 'oldest' | 'newest' (which end of the window to begin at)
-- ARGV[4]   how many, ARGV[5] only seqs after, ARGV[6] only seqs before ('' = no bound),
-- ARGV[7]   only messages since (ms, '' = no bound), ARGV[8] only the one of a digest ('' = any)
-- ARGV[9]   of these the newest with at most so many bytes of text together ('' = all)
-- ARGV[10]  '1' = a snapshot: any number of keys, and the dedupe ring
-- ARGV[11]  '1' = a use of the session, which renews it if its settings say so
-- ARGV[12]  state: 'none' | 'names' | 'all' | 'some'; ARGV[13] most keys of 'all'
-- ARGV[14..] the keys of 'some'
-- Answers   reply() .. {is the same, window, state, {key, its expiry, ...}, ring}
--           window = {oldest seq, newest seq, cut short, seq of the digest or 0, {{element ...} ...}}:
--             they hold all that the window lets in, and may hold more
--           state = {value or false of each key, as many as fit ...} of 'some',
--             {name ...} of 'names', {name, value, ...} of 'all': empty if that does not fit
--           {'absent', is there a backup} | {'too_large', 'keys' or 'names'}

local KNOWN, MOST_BYTES, END, LIMIT = ARGV[1], math.abs(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local IS_TRIAL = tonumber(ARGV[2]) < 0
local AFTER, BEFORE, SINCE = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local DIGEST, BUDGET, IS_SNAPSHOT = ARGV[8], tonumber(ARGV[9]) or math.huge, ARGV[10] == '1'
local IS_USE, STATE_PART, MOST_KEYS, FIRST_KEY = ARGV[11] == '1', ARGV[12], tonumber(ARGV[13]), 14
local BACKUP, BACKUP_HEAD_BYTES = KEYS[4], 28  -- as in backup.lua
local RENEWAL_PAUSE_MS = 1000
local MOST_NAMES = 30000  -- of state keys that are listed: more would hold Redis for over 20 ms
local MOST_ELEMENTS = 10000
local PACKED_ABOUT = 32  -- messages in a chunk, to guess how many of them are needed

-- The elements that may hold what the bounds let in, as indices, both included.
local function bounds(after, before)
  local from, to = 0, element_count() - 1
  if after then from = first_index(last_of, after + 1) end
  if SINCE then
    local first = first_index(at_of, SINCE)
    -- The times in a chunk go on behind its first.
    if first > 0 and is_chunk(element(first - 1)) then first = first - 1 end
    from = math.max(from, first)
  end
  if before then to = first_index(first_of, before) - 1 end
  return from, to
end

-- Slices of the elements from..to, from the end of the window on, until LIMIT messages are sure to be
-- among them, or BUDGET is passed; and whether it was MOST_BYTES that ended it. What a chunk at that
-- end holds may be out of bounds: it is not counted. The slices are in order, whichever end it is.
local function collect(s, from, to, is_bounded)
  local is_reverse = END == 'newest'
  local most = math.max(1, math.floor(math.min(MOST_BYTES, BUDGET) / math.max(1, s.largest)))
  local slices, kept, bytes, texts, messages = {}, 0, 0, 0, 0

  -- Counts an element; whether it is taken, and whether more are wanted.
  local function take(one)
    local count, size = weigh(one)
    -- A chunk is small, and the messages that are wanted of it are smaller still.
    local cost = math.max(#one - PREFIX_BYTES, size)
    local fits = bytes + cost <= MOST_BYTES or (kept == 0 and is_chunk(one))
    if not fits or kept == MOST_ELEMENTS then return false, false end
    if kept == 0 and is_bounded and is_chunk(one) then count, size = 0, 0 end
    kept = kept + 1
    bytes, texts, messages = bytes + cost, texts + size, messages + count
    return true, messages < LIMIT and (not is_reverse or texts <= BUDGET)
  end

  -- The part of a slice that is taken, and whether the next slice is wanted.
  local function part(slice)
    for i = 1, #slice do
      local index = is_reverse and #slice + 1 - i or i
      local is_taken, is_next = take(slice[index])
      if not is_next then
        local last = is_taken and i or i - 1
        local rest = is_reverse and {unpack(slice, #slice + 1 - last)} or {unpack(slice, 1, last)}
        return rest, false, not is_taken
      end
    end
    return slice, true, false
  end

  -- At first all that is behind the last chunk, and that.
  local step = has_chunks(s) and math.min(s.newest - s.sealed + 1, LIMIT) or LIMIT
  while from <= to and LIMIT > 0 do
    step = math.max(1, math.min(step, most, SLICE, to - from + 1))
    local first = is_reverse and to - step + 1 or from
    local slice = redis.call('LRANGE', LOG, HEAD + first, HEAD + first + step - 1)
    local taken, is_next, is_cut = part(slice)
    table.insert(slices, is_reverse and 1 or #slices + 1, taken)
    if not is_next then return slices, is_cut end
    if is_reverse then to = to - step else from = from + step end
    step = math.max(1, math.ceil((LIMIT - messages) / PACKED_ABOUT))
  end
  return slices, false
end

local function read_window(s)
  local after, before, only = AFTER, BEFORE, 0
  if DIGEST ~= '' then
    only = remembered(redis.call('LINDEX', LOG, RING_AT), s.last_seq, DIGEST) or 0
    if only < s.first then only = 0 end  -- trimmed, though its element may still be there
    after, before = only - 1, only + 1
  end
  local oldest, newest = extent(s)
  if s.count == 0 or (DIGEST ~= '' and only == 0) then return {oldest, newest, 0, only, {}} end
  if END == 'oldest' then after = math.max(after or 0, s.first - 1) end
  local from, to = bounds(after, before)
  local slices, is_cut = collect(s, from, to, END == 'oldest' or before ~= nil)
  return {oldest, newest, is_cut and 1 or 0, only, slices}
end

-- The values of keys, from `first` on, as many as fit together; at least one does, but in a trial.
local function values_that_fit(keys, first)
  local values, bytes = {}, 0
  for i = first, #keys do
    local value = redis.call('HGET', STATE, keys[i])
    bytes = bytes + (value and value_bytes(value) or 0)
    if bytes > MOST_BYTES and (i > first or IS_TRIAL) then break end
    values[#values + 1] = value
  end
  return values
end

local function read_all()
  local keys, state = redis.call('HKEYS', STATE), {}
  local values = values_that_fit(keys, 1)
  for i = 1, #values == #keys and #keys or 0 do
    state[2 * i - 1], state[2 * i] = keys[i], values[i]
  end
  return state
end

local function read_state()
  if STATE_PART == 'names' then return redis.call('HKEYS', STATE) end
  if STATE_PART == 'all' then return read_all() end
  if STATE_PART == 'some' then return values_that_fit(ARGV, FIRST_KEY) end
  return {}
end

-- Which of the keys that are answered expire by themselves, and when: there may be many others.
local function read_expiries(s, state)
  if #state == 0 or s.expiring == 0 then return {} end
  if STATE_PART == 'some' then return expiries_among(s, FIRST_KEY, FIRST_KEY + #state - 1, 1) end
  return redis.call('ZRANGE', EXPIRIES, 0, -1, 'WITHSCORES')
end

-- Told even to a caller who holds all of them: memory must not change an answer.
local function excess(s)
  if IS_SNAPSHOT then return nil end
  if STATE_PART == 'all' and state_key_count(s) > MOST_KEYS then return 'keys' end
  if STATE_PART ~= 'names' then return nil end
  local names = redis.call('HLEN', STATE) + (s.expiring == 1 and redis.call('ZCARD', EXPIRIES) or 0)
  if names > MOST_NAMES then return 'names' end
end

local function has_backup()
  return BACKUP and redis.call('STRLEN', BACKUP) > BACKUP_HEAD_BYTES
end

local s = load()
if not s then return {'absent', has_backup() and 1 or 0} end
local problem = excess(s)
if problem then return {'too_large', problem, 0} end

local is_same = KNOWN == tag(s)
local window, state, expiries = {}, {}, {}
if not is_same then
  state = read_state()
  expiries = read_expiries(s, state)
  if END ~= 'none' then window = read_window(s) end
end

if IS_USE and s.touch == 'access' and NOW - s.renewed_at >= RENEWAL_PAUSE_MS then
  local renewed_at = s.renewed_at
  s.renewed_at = NOW
  -- A server that takes no writes still answers reads.
  if not pcall(commit, s) then s.renewed_at = renewed_at end
end
local ring = IS_SNAPSHOT and redis.call('LINDEX', LOG, RING_AT) or ''
return reply(s, 0, is_same and 1 or 0, window, state, expiries, ring)
