-- What every script knows of a session; stands before the text of each, behind live.lua or replay.lua.
--
-- KEYS[1]  LOG       a LIST: header, dedupe ring, keyed calls, then its elements, oldest first
-- KEYS[2]  STATE     a HASH: state key -> tag (6 bytes) .. what codec.py packed
-- KEYS[3]  EXPIRIES  a ZSET: state key -> the ms at which it expires, of those that do so alone
--
-- The header is a MessagePack array, in the order of pack(). An element is a message,
-- seq (6 bytes) .. at in ms (6 bytes) .. its JSON text, integers big-endian, or a chunk of
-- consecutive ones (elements.lua). The header alone says which messages are held: what stands
-- before `first` was trimmed, and is swept away later.
-- The dedupe ring is 8 bytes a seq, aligned so that its end belongs to last_seq.
-- A state key that has expired is not there, whether it was purged or not.
--
-- Growing scripts begin with a command that a full Redis refuses, so nothing is half applied;
-- shrinking and touching ones begin with one that it takes, after which all others pass.

local LOG, STATE, EXPIRIES = KEYS[1], KEYS[2], KEYS[3]
local RING_AT, CALLS_AT = 1, 2
local HEAD = 3      -- elements of LOG before the first message
local VERSION = 3   -- of the header
local SLICE = 2000  -- Lua's unpack() fails beyond about 4,000 values
local SLICE_BYTES = 1048576

local LONGEST_SCRIPT_MS = 1000
local REPLAYED_MS = 60000  -- a replay is over by then

local function clock_ms()
  local clock = redis.call('TIME')
  return clock[1] * 1000 + math.floor(clock[2] / 1000)
end

local NOW = REPLAY and REPLAY.at or clock_ms()

-- Times are told from the creation on, which is shorter.
local function pack(s)
  return cmsgpack.pack({VERSION, s.gen, s.rev, s.created_at, s.updated_at - s.created_at,
    s.renewed_at - s.created_at, s.ttl, s.touch, s.max_age, s.max_messages, s.last_seq, s.first,
    s.last_seq - s.newest, s.count, s.sealed, s.largest, s.dedupe, s.expiring})
end

-- The session, or nil. 0 stands for "never" in ttl and max_age, for "none" in expiring.
--
-- Of the messages it tells `count`, and the seqs of the oldest (`first`), of the `newest`, and of
-- the last that was `sealed` (0 = none). `header` is the packed text of all that, as of the last
-- commit().
local function load()
  local header = redis.call('LINDEX', LOG, 0)
  if not header then return nil end
  local h = cmsgpack.unpack(header)
  -- A dyno of an older release may still run: it must not write what it cannot read.
  assert(h[1] == VERSION, 'a session of another release')
  -- A write that made a session tells that an older one of the same id had ended by then.
  if REPLAY and REPLAY.follows == 0 and h[2] ~= ARGV[1] and h[4] < REPLAY.at then
    redis.call('UNLINK', LOG, STATE, EXPIRIES)
    return nil
  end
  return {header = header, gen = h[2], rev = h[3], created_at = h[4], updated_at = h[4] + h[5],
    renewed_at = h[4] + h[6], ttl = h[7], touch = h[8], max_age = h[9], max_messages = h[10],
    last_seq = h[11], first = h[12], newest = h[11] - h[13], count = h[14], sealed = h[15],
    largest = h[16], dedupe = h[17], expiring = h[18]}
end

local function tag(s)
  return s and s.gen .. '-' .. string.format('%.0f', s.rev)
end

-- f(from, to) for consecutive ranges of values[first..last], in whole steps, none too long.
local function in_slices(values, first, last, step, f)
  local from, bytes = first, 0
  for i = first, last, step do
    local to = i + step - 1
    bytes = bytes + #values[to]
    if to >= last or to - from + 1 >= SLICE or bytes >= SLICE_BYTES then
      f(from, to)
      from, bytes = to + 1, 0
    end
  end
end

local function expired_key_count(s)
  return s.expiring == 1 and redis.call('ZCOUNT', EXPIRIES, '-inf', NOW) or 0
end

local function state_key_count(s)
  return redis.call('HLEN', STATE) - expired_key_count(s)
end

local function has_expired(s, key)
  local ends = s.expiring == 1 and redis.call('ZSCORE', EXPIRIES, key)
  return ends and tonumber(ends) <= NOW
end

-- Key and expiry, key and expiry ... of those keys ARGV[from], ARGV[from + step] ... that have one.
local function expiries_among(s, from, to, step)
  local expiries = {}
  for i = from, s and s.expiring == 1 and to or 0, step do
    local ends = redis.call('ZSCORE', EXPIRIES, ARGV[i])
    if ends then
      expiries[#expiries + 1] = ARGV[i]
      expiries[#expiries + 1] = tonumber(ends)
    end
  end
  return expiries
end

local function expires_at(s)
  local sliding = s.ttl > 0 and s.renewed_at + s.ttl or math.huge
  local capped = s.max_age > 0 and s.created_at + s.max_age or math.huge
  return math.min(sliding, capped)
end

-- All keys end together. An expiry in the past would delete them here, and Redis 6.2 goes by the
-- clock of the moment: what ends soon is measured against it, not against the script's start.
-- In a replay later writes may have renewed what has run out by now: settle.lua has the last word.
local function set_expiry(s)
  local ends = expires_at(s)
  if REPLAY then
    ends = math.max(ends, clock_ms() + REPLAYED_MS)
  elseif ends <= NOW + LONGEST_SCRIPT_MS then
    ends = math.max(ends, clock_ms() + 2)
  end
  for i = 1, s.expiring == 1 and 3 or 2 do
    if ends == math.huge then
      redis.call('PERSIST', KEYS[i])
    else
      redis.call('PEXPIREAT', KEYS[i], ends)
    end
  end
end

-- Removes state keys that have expired, a slice a script: who is left does not count either.
local function purge(s)
  if s.expiring == 0 then return end
  local gone = redis.call('ZRANGEBYSCORE', EXPIRIES, '-inf', NOW, 'LIMIT', 0, SLICE)
  if #gone > 0 then
    redis.call('HDEL', STATE, unpack(gone))
    redis.call('ZREM', EXPIRIES, unpack(gone))
  end
  s.expiring = redis.call('EXISTS', EXPIRIES)
end

-- The last step of every mutation. Expiry first: a full Redis takes it, and then the rest.
local function commit(s)
  set_expiry(s)
  purge(s)
  if s.calls then redis.call('LSET', LOG, CALLS_AT, s.calls) end
  s.header = pack(s)
  redis.call('LSET', LOG, 0, s.header)
end

-- What every answer tells of the session: time, header, state keys, has it changed, and the
-- revision of the call that this one repeats (0 = it is the first).
local function reply(s, replayed_rev, ...)
  local changed = s.has_changed and 1 or 0
  return {'ok', NOW, s.header, state_key_count(s), changed, replayed_rev, ...}
end
