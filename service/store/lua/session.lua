-- What every script knows of a session; the text of this file stands before the text of each.
--
-- KEYS[1]  LOG    a LIST: header, dedupe ring, then the messages, oldest first
-- KEYS[2]  STATE  a HASH: state key -> revision (6 bytes) .. what codec.py packed
--
-- The header is a MessagePack array, in the order of pack(). A message is
-- seq (6 bytes) .. at in ms (6 bytes) .. its JSON text, integers big-endian.
-- The dedupe ring is 8 bytes a seq, aligned so that its end belongs to last_seq.
--
-- Growing scripts begin with a command that a full Redis refuses, so nothing is half applied;
-- shrinking and touching ones begin with one that it takes, after which all others pass.

local LOG, STATE = KEYS[1], KEYS[2]
local HEAD = 2      -- elements of LOG before the first message
local VERSION = 1   -- of the header
local SLICE = 2000  -- Lua's unpack() fails beyond about 4,000 values

local LONGEST_SCRIPT_MS = 1000

local function clock_ms()
  local clock = redis.call('TIME')
  return clock[1] * 1000 + math.floor(clock[2] / 1000)
end

local NOW = clock_ms()

local function pack(s)
  return cmsgpack.pack({VERSION, s.gen, s.rev, s.created_at, s.updated_at, s.renewed_at,
    s.ttl, s.touch, s.max_age, s.max_messages, s.last_seq, s.largest, s.dedupe})
end

-- The session, or nil. 0 stands for "never" in ttl and max_age.
local function load()
  local header = redis.call('LINDEX', LOG, 0)
  if not header then return nil end
  local h = cmsgpack.unpack(header)
  -- A dyno of an older release may still run: it must not write what it cannot read.
  assert(h[1] == VERSION, 'a session of another release')
  return {gen = h[2], rev = h[3], created_at = h[4], updated_at = h[5], renewed_at = h[6],
    ttl = h[7], touch = h[8], max_age = h[9], max_messages = h[10], last_seq = h[11],
    largest = h[12], dedupe = h[13]}
end

local function tag(s)
  return s and s.gen .. '-' .. string.format('%.0f', s.rev)
end

-- f(first, last) for consecutive ranges of at most SLICE out of 1..n.
local function in_slices(n, f)
  for first = 1, n, SLICE do f(first, math.min(first + SLICE - 1, n)) end
end

local function message_count()
  return redis.call('LLEN', LOG) - HEAD
end

local function seq_of(element)
  return (struct.unpack('>I6', element))
end

local function oldest_seq()
  local oldest = redis.call('LINDEX', LOG, HEAD)
  return oldest and seq_of(oldest)
end

local function expires_at(s)
  local sliding = s.ttl > 0 and s.renewed_at + s.ttl or math.huge
  local capped = s.max_age > 0 and s.created_at + s.max_age or math.huge
  return math.min(sliding, capped)
end

-- Both keys end together. An expiry in the past would delete them here, and Redis 6.2 goes by the
-- clock of the moment: what ends soon is measured against it, not against the script's start.
local function set_expiry(s)
  local ends = expires_at(s)
  if ends <= NOW + LONGEST_SCRIPT_MS then ends = math.max(ends, clock_ms() + 2) end
  for _, key in ipairs(KEYS) do
    if ends == math.huge then
      redis.call('PERSIST', key)
    else
      redis.call('PEXPIREAT', key, ends)
    end
  end
end

-- The last step of every mutation. Expiry first: a full Redis takes it, and then the header.
local function commit(s)
  set_expiry(s)
  redis.call('LSET', LOG, 0, pack(s))
end

-- What every answer tells of the session: time, header, messages, state keys, has it changed.
local function reply(outcome, s, ...)
  local changed = s.has_changed and 1 or 0
  return {outcome, NOW, pack(s), message_count(), redis.call('HLEN', STATE), changed, ...}
end
