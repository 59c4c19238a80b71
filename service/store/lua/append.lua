-- Appends messages in order, skipping those that are remembered, and trims the oldest.
--
-- ARGV[10]   the member that identifies a message ('' = no dedupe in this call)
-- ARGV[11]   how many of the last seqs are remembered
-- ARGV[12..] a pair for each message: its JSON text, the digest of its identity (8 bytes or '')
-- Answers    {'ok', time, header, messages, state keys, changed, appended, at, oldest seq held,
--             index of each duplicate ...}
--            {'conflict', the session's member} | {'precondition', tag or ''}

local DEDUPE, WINDOW, FIRST = ARGV[10], tonumber(ARGV[11]), 12
local DIGEST_BYTES = 8
local NO_DIGEST = string.rep('\0', DIGEST_BYTES)

local s = load()
if is_refused(tag(s)) then return refusal(tag(s)) end
if s and DEDUPE ~= '' and s.dedupe ~= '' and s.dedupe ~= DEDUPE then
  return {'conflict', s.dedupe}
end

local is_remembering = DEDUPE ~= '' or (s and s.dedupe ~= '')
local ring = s and is_remembering and redis.call('LINDEX', LOG, 1) or ''
local before = s and s.last_seq or 0
local at = s and math.max(NOW, s.updated_at) or NOW
local last, largest = before, s and s.largest or 0
local fresh, digests, seq_of, duplicates = {}, {}, {}, {}

-- The seq under which the ring remembers a digest, or nil. A hit across two digests is none.
local function remembered(digest)
  local from = 1
  while true do
    local position = string.find(ring, digest, from, true)
    if not position then return nil end
    if (position - 1) % DIGEST_BYTES == 0 then
      return before - (#ring - position + 1) / DIGEST_BYTES + 1
    end
    from = position + 1
  end
end

local function is_duplicate(digest)
  if digest == '' then return false end
  local seq = seq_of[digest] or remembered(digest)
  return seq ~= nil and seq > last - WINDOW
end

for i = FIRST, #ARGV, 2 do
  local text, digest = ARGV[i], ARGV[i + 1]
  if is_duplicate(digest) then
    duplicates[#duplicates + 1] = (i - FIRST) / 2
  else
    last = last + 1
    fresh[#fresh + 1] = struct.pack('>I6I6', last, at) .. text
    digests[#digests + 1] = digest == '' and NO_DIGEST or digest
    seq_of[digest] = last
    largest = math.max(largest, #fresh[#fresh])
  end
end

local created = not s
s = s or create()
in_slices(#fresh, function(from, to) redis.call('RPUSH', LOG, unpack(fresh, from, to)) end)
local changed = change_settings(s)
if (changed or #fresh > 0) and not created then advance(s) end
renew(s)
trim(s)
s.last_seq, s.largest = last, largest
if DEDUPE ~= '' then s.dedupe = DEDUPE end
if is_remembering and #fresh > 0 then
  local grown = ring .. table.concat(digests)
  redis.call('LSET', LOG, 1, string.sub(grown, -WINDOW * DIGEST_BYTES))
end
commit(s)
return reply('ok', s, #fresh, at, oldest_seq(), unpack(duplicates))
