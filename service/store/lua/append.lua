-- Appends messages in order, skipping those that are remembered, and trims the oldest; or puts
-- them in the place of all that are there. Needs search.lua.
--
-- ARGV[13]   the member that identifies a message ('' = no dedupe in this call)
-- ARGV[14]   how many of the last seqs are remembered
-- ARGV[15]   '1' = replace: all are taken, none is skipped
-- ARGV[16..] a pair for each message: its JSON text, the digest of its identity (8 bytes or '')
-- Answers    reply() .. {appended, last seq, {index of each duplicate ...}}, and if it is no repetition
--            {at, oldest and newest seq held}
--            {'conflict', the session's member} | {'too_many', max_messages}
--            | what ended() answers

local DEDUPE, WINDOW, REPLACES, FIRST = ARGV[13], tonumber(ARGV[14]), ARGV[15] == '1', 16
local NO_DIGEST = string.rep('\0', DIGEST_BYTES)

local s = load()
local answer = ended(s, tag(s))
if answer then return answer end
if s and DEDUPE ~= '' and s.dedupe ~= '' and s.dedupe ~= DEDUPE then
  return {'conflict', s.dedupe}
end
local most = tonumber(MAX_MESSAGES) or s and s.max_messages or tonumber(DEFAULT_MAX_MESSAGES)
if REPLACES and (#ARGV - FIRST + 1) / 2 > most then return {'too_many', most} end

local is_remembering = DEDUPE ~= '' or (s and s.dedupe ~= '')
local ring = s and is_remembering and not REPLACES and redis.call('LINDEX', LOG, RING_AT) or ''
local before = s and s.last_seq or 0
local at = s and math.max(NOW, s.updated_at) or NOW
local last, largest = before, s and not REPLACES and s.largest or 0
local fresh, digests, seq_of_digest, duplicates = {}, {}, {}, {}

local function is_duplicate(digest)
  if digest == '' or REPLACES then return false end
  local seq = seq_of_digest[digest] or remembered(ring, before, digest)
  return seq ~= nil and seq > last - WINDOW
end

for i = FIRST, #ARGV, 2 do
  local text, digest = ARGV[i], ARGV[i + 1]
  if is_duplicate(digest) then
    duplicates[#duplicates + 1] = (i - FIRST) / 2
  else
    last = last + 1
    fresh[#fresh + 1] = text
    digests[#digests + 1] = digest == '' and NO_DIGEST or digest
    seq_of_digest[digest] = last
    largest = math.max(largest, #text)
  end
end

local function push(from, to)
  for i = from, to do fresh[i] = struct.pack('>I6I6', before + i, at) .. fresh[i] end
  redis.call('RPUSH', LOG, unpack(fresh, from, to))
end

local created = not s
s = s or create()
local replaced = REPLACES and element_count() or 0
in_slices(fresh, 1, #fresh, 1, push)
drop_elements(replaced)
if REPLACES then s.count = 0 end
local changed = change_settings(s) or REPLACES
if (changed or #fresh > 0) and not created then advance(s) end
renew(s)
s.last_seq, s.largest = last, largest
if #fresh > 0 then
  if s.count == 0 then s.first = before + 1 end
  s.newest, s.count = last, s.count + #fresh
elseif REPLACES then
  s.first, s.newest = last + 1, last
end
trim(s, before)
if DEDUPE ~= '' then s.dedupe = DEDUPE end
if is_remembering and (REPLACES or #fresh > 0) then
  local grown = ring .. table.concat(digests)
  redis.call('LSET', LOG, RING_AT, string.sub(grown, -WINDOW * DIGEST_BYTES))
end
remember(s, OK, #fresh, last, duplicates)
commit(s)
return reply(s, 0, #fresh, last, duplicates, at, extent(s))
