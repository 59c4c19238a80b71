-- Reads a session; its messages and state only if they are not those of the tag that is known.
-- Needs search.lua.
--
-- ARGV[1]   the tag that the caller holds ('' = none)
-- ARGV[2]   most bytes to answer with, of messages and of state each: what does not fit is left
--           out, and so is what is beyond MOST_MESSAGES
-- ARGV[3]   messages: 'none' | 'oldest' | 'newest' (which end of the window to begin at)
-- ARGV[4]   how many, ARGV[5] only seqs after, ARGV[6] only seqs before ('' = no bound),
-- ARGV[7]   only messages since (ms, '' = no bound), ARGV[8] only the one of a digest ('' = any)
-- ARGV[9]   of these the newest with at most so many bytes together ('' = all)
-- ARGV[10]  '1' = a snapshot: any number of keys, and the dedupe ring
-- ARGV[11]  state: 'none' | 'names' | 'all' | 'some'; ARGV[12] most keys of 'all'
-- ARGV[13..] the keys of 'some'
-- Answers   reply() .. {is the same, window, state, {key, its expiry, ...}, ring}
--           window = {first seq, last seq, older exist, newer exist, cut short, message ...}
--           state = {value or false of each key, as many as fit ...} of 'some',
--             {name ...} of 'names', {name, value, ...} of 'all': empty if that does not fit
--           {'absent'} | {'too_large', 'keys' or 'names'}

local KNOWN, MOST_BYTES, END, LIMIT = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local AFTER, BEFORE, SINCE = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local DIGEST, BUDGET, IS_SNAPSHOT = ARGV[8], tonumber(ARGV[9]) or math.huge, ARGV[10] == '1'
local STATE_PART, MOST_KEYS, FIRST_KEY = ARGV[11], tonumber(ARGV[12]), 13
local RENEWAL_PAUSE_MS = 1000
local MOST_NAMES = 30000  -- of state keys that are listed: more would hold Redis for over 20 ms
local MOST_MESSAGES = 10000
local PREFIX_BYTES = 12   -- seq and at before the text of a message

local function at_of(element)
  return (struct.unpack('>I6', element, 7))
end

-- The window as indices, both included.
local function window_bounds(s, count)
  local after, before = AFTER, BEFORE
  if DIGEST ~= '' then
    local seq = remembered(redis.call('LINDEX', LOG, RING_AT), s.last_seq, DIGEST)
    if not seq then return 0, -1 end
    after, before = seq - 1, seq + 1
  end
  local from, to = 0, count - 1
  if after then from = index_of(count, after + 1) end
  if SINCE then from = math.max(from, lower_bound(0, count, at_of, SINCE)) end
  if before then to = index_of(count, before) - 1 end
  if END == 'newest' then return math.max(from, to - LIMIT + 1), to end
  return from, math.min(to, from + LIMIT - 1)
end

-- Messages from..to, in slices none of which is far too long, until the next would not fit; and
-- whether it was MOST_BYTES that ended it. From the newest end the result is in reverse.
local function collect(s, from, to, is_reverse)
  local step = math.max(1, math.floor(math.min(MOST_BYTES, BUDGET) / math.max(1, s.largest)))
  local kept, bytes, is_cut = {}, 0, false
  local function keep(element)
    bytes = bytes + #element - PREFIX_BYTES
    if bytes > BUDGET then return false end
    is_cut = bytes > MOST_BYTES or #kept == MOST_MESSAGES
    if is_cut then return false end
    kept[#kept + 1] = element
    return true
  end
  while from <= to do
    if is_reverse then
      local slice = redis.call('LRANGE', LOG, HEAD + math.max(from, to - step + 1), HEAD + to)
      for i = #slice, 1, -1 do
        if not keep(slice[i]) then return kept, is_cut end
      end
      to = to - step
    else
      local slice = redis.call('LRANGE', LOG, HEAD + from, HEAD + math.min(to, from + step - 1))
      for i = 1, #slice do
        if not keep(slice[i]) then return kept, is_cut end
      end
      from = from + step
    end
  end
  return kept, is_cut
end

local function read_window(s)
  local count = message_count()
  if count == 0 then return {false, false, 0, 0, 0} end
  local from, to = window_bounds(s, count)
  local is_reverse = END == 'newest' or BUDGET < math.huge
  local kept, is_cut = collect(s, from, to, is_reverse)
  local n = #kept
  local window = {oldest_seq(), newest_seq(), 0, 0, is_cut and 1 or 0}
  if n > 0 then
    local first_index = is_reverse and to - n + 1 or from
    if first_index > 0 then window[3] = 1 end
    if first_index + n < count then window[4] = 1 end
  end
  for i = 1, n do window[5 + i] = is_reverse and kept[n - i + 1] or kept[i] end
  return window
end

-- The last index of keys, from `first`, whose values fit together; at least one does.
local function last_that_fits(keys, first)
  local total = 0
  for i = first, #keys do
    total = total + redis.call('HSTRLEN', STATE, keys[i])
    if total > MOST_BYTES and i > first then return i - 1 end
  end
  return #keys
end

local function read_some()
  local values = {}
  in_slices(ARGV, FIRST_KEY, last_that_fits(ARGV, FIRST_KEY), 1, function(from, to)
    local got = redis.call('HMGET', STATE, unpack(ARGV, from, to))
    for _, value in ipairs(got) do values[#values + 1] = value end
  end)
  return values
end

local function read_all()
  local keys = redis.call('HKEYS', STATE)
  if last_that_fits(keys, 1) < #keys then return {} end
  return redis.call('HGETALL', STATE)
end

local function read_state()
  if STATE_PART == 'names' then return redis.call('HKEYS', STATE) end
  if STATE_PART == 'all' then return read_all() end
  if STATE_PART == 'some' then return read_some() end
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

local s = load()
if not s then return {'absent'} end
local problem = excess(s)
if problem then return {'too_large', problem, 0} end

local is_same = KNOWN == tag(s)
local window, state, expiries = {}, {}, {}
if not is_same then
  state = read_state()
  expiries = read_expiries(s, state)
  if END ~= 'none' then window = read_window(s) end
end

if s.touch == 'access' and NOW - s.renewed_at >= RENEWAL_PAUSE_MS then
  local renewed_at = s.renewed_at
  s.renewed_at = NOW
  -- A server that takes no writes still answers reads.
  if not pcall(commit, s) then s.renewed_at = renewed_at end
end
local ring = IS_SNAPSHOT and redis.call('LINDEX', LOG, RING_AT) or ''
return reply(s, 0, is_same and 1 or 0, window, state, expiries, ring)
