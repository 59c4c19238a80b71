-- Removes messages. Needs elements.lua and search.lua.
--
-- ARGV[13]  'all' | 'one' (of seq N) | 'before' (seq N) | 'last' (the newest N, which it answers)
--           | 'excess' (what is beyond the newest N, of that the oldest MOST_DROPPED: the service
--           drops it by itself, so expiry, times and known duplicates stay; the revision tells)
-- ARGV[14]  N
-- ARGV[15]  most bytes of elements to answer with; negative = a trial (mutation.lua)
-- Answers   reply() .. {removed, {element that holds what was popped ...}}, and if it is no
--           repetition {oldest and newest seq held, the chunk that was narrowed or ''}
--           {'absent'} | {'too_large', 'bytes' or 'remembered'} | {'larger'} | what ended() answers

local CUT, N, MOST_BYTES = ARGV[13], tonumber(ARGV[14]), math.abs(ARGV[15])
local IS_TRIAL = tonumber(ARGV[15]) < 0
local IS_OURS = CUT == 'excess'
local MOST_DROPPED = 2000

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

-- Puts what is left of a chunk in its place, or takes the whole element off. Expiry first: a full
-- Redis takes it, and then the rest.
local function keep_only(s, index, seqs)
  local whole = element(index)
  set_expiry(s)
  if #seqs > 0 then
    local rest = narrowed(whole, seqs)
    redis.call('LSET', LOG, HEAD + index, rest)
    return rest
  end
  redis.call('LSET', LOG, HEAD + index, TOMBSTONE)
  redis.call('LREM', LOG, index < element_count() / 2 and 1 or -1, TOMBSTONE)
  return ''
end

-- Splits the seqs that an element holds into those that stay and those that go.
local function split(s, element, goes)
  local stay, go = {}, {}
  for _, seq in ipairs(held_in(element)) do
    if seq >= s.first then
      local side = goes(seq) and go or stay
      side[#side + 1] = seq
    end
  end
  return stay, go
end

local function remove_all(s)
  local removed = s.count
  clear(s)
  return removed, {}, ''
end

-- Each of these answers how many are gone, what was popped, and the chunk that was narrowed.

local function remove_one(s)
  if N < s.first or N > s.newest then return 0, {}, '' end
  local index = first_index(last_of, N)
  local stay, go = split(s, element(index), function(seq) return seq == N end)
  if #go == 0 then return 0, {}, '' end
  if s.count == 1 then return remove_all(s) end
  if N == s.first then s.first = nth_seq(s, 1) end
  local rest = keep_only(s, index, stay)
  s.count = s.count - 1
  if N == s.newest then s.newest = last_of(element_before(0)) end
  return 1, {}, rest
end

local function remove_before(s)
  if s.count == 0 or N <= s.first then return 0, {}, '' end
  if N > s.newest then return remove_all(s) end
  local oldest, index = first_index(last_of, s.first), first_index(last_of, N)
  local stay, go = split(s, element(index), function(seq) return seq < N end)
  local removed = #go
  if s.count == s.newest - s.first + 1 then
    removed = N - s.first
  elseif oldest < index then
    local _, of_oldest = split(s, element(oldest), function() return true end)
    removed = removed + #of_oldest + messages_among(s, oldest + 1, index)
  end
  set_expiry(s)
  s.first, s.count = stay[1], s.count - removed
  return removed, {}, #go > 0 and keep_only(s, index, stay) or ''
end

local function remove_excess(s)
  if s.count <= N then return 0, {}, '' end
  N = nth_seq(s, math.min(s.count - N, MOST_DROPPED))
  return remove_before(s)
end

-- How many elements at the end go as a whole, how many messages these hold, and all that hold what
-- is popped; nil if they are too large.
local function popped(s)
  local whole, messages, bytes, elements = 0, 0, 0, {}
  while messages < N do
    local one = element_before(whole)
    local stay, go = split(s, one, function() return true end)
    table.insert(elements, 1, one)
    if messages + #go > N then break end
    local _, size = weigh(one)
    bytes = bytes + math.max(#one, size)
    if bytes > MOST_BYTES then return nil end
    whole, messages = whole + 1, messages + #go
  end
  return whole, messages, elements
end

local function remove_last(s)
  N = math.min(N, s.count)
  if N == 0 then return 0, {}, '' end
  local whole, messages, elements = popped(s)
  if not whole then return nil end
  if N == s.count then
    clear(s)
    return N, elements, ''
  end
  redis.call('LTRIM', LOG, 0, -1 - whole)
  local rest = ''
  if messages < N then
    local seqs = split(s, element_before(0), function() return false end)
    for _ = messages + 1, N do seqs[#seqs] = nil end
    rest = keep_only(s, element_count() - 1, seqs)
  end
  s.newest, s.count = last_of(element_before(0)), s.count - N
  return N, elements, rest
end

local REMOVALS = {all = remove_all, one = remove_one, before = remove_before, last = remove_last,
  excess = remove_excess}

local s = load()
local answer = ended(s, tag(s))
if answer then return answer end
if not s then return {'absent'} end

local first, newest = s.first, s.newest
local removed, elements, rest = REMOVALS[CUT](s)
if not removed then return passed(s, IS_TRIAL, CALL_KEY == '' and 'bytes' or 'remembered') end
if removed > 0 then
  if CUT == 'one' then first, newest = N, N end
  if CUT == 'before' then newest = s.first - 1 end
  if CUT == 'last' then first = s.count > 0 and s.newest + 1 or first end
  sweep(s)
  local updated_at = s.updated_at
  advance(s)
  if IS_OURS then s.updated_at = updated_at else forget(s, first, newest) end
end
if not IS_OURS then renew(s) end
remember(s, OK, removed, elements)
commit(s)
return reply(s, 0, removed, elements, rest, extent(s))
