-- What every mutation knows: leases, conditions, repetitions, settings, creation. Stands after
-- session.lua. KEYS[4] is the session's lease, if the call carries a token of one.
--
-- ARGV[1..12] are common to all mutations. Conditions are '' (none), '*', or tags with a space
-- on both sides of each; settings are '' (keep) or the new value.

local GEN, IF_MATCH, IF_NONE_MATCH, DEFAULT_TTL, DEFAULT_MAX_MESSAGES = unpack(ARGV, 1, 5)
local TTL, MAX_MESSAGES, TOUCH, MAX_AGE = unpack(ARGV, 6, 9)
local LEASE, CALL_KEY, FINGERPRINT = unpack(ARGV, 10, 12)

local MOST_CALLS = 16   -- of clients, and as many of journals
local REMEMBERED_MINUTES = 1440
local OK = 0

-- Whether a key is that of a journal (batching.py): longer than a client's, the same for all its
-- calls, which are numbered. Only its last one may still be sent again.
local function is_of_journal(key)
  return #key == 9
end

local IS_NUMBERED = is_of_journal(CALL_KEY)

local function is_listed(tags, current)
  if not current then return false end
  return tags == '*' or string.find(tags, ' ' .. current .. ' ', 1, true) ~= nil
end

-- Whether the conditions refuse what is there now (RFC 9110, 13.2.2).
local function is_refused(current)
  if IF_MATCH ~= '' and not is_listed(IF_MATCH, current) then return true end
  return IF_NONE_MATCH ~= '' and is_listed(IF_NONE_MATCH, current)
end

-- The keyed calls that the session remembers, oldest first: key, fingerprint, minute, rev,
-- outcome ... Minutes are told from the creation on; OK stands for the outcome of nearly all.
local function known_calls()
  local calls = redis.call('LINDEX', LOG, CALLS_AT)
  return calls ~= '' and cmsgpack.unpack(calls) or {}
end

local function minute(s)
  return math.floor((NOW - s.created_at) / 60000)
end

-- The first run of this call, nil if there was none or it is too long ago.
local function recall(s)
  if CALL_KEY == '' or not s then return nil end
  for _, call in ipairs(known_calls()) do
    if call[1] == CALL_KEY and call[3] > minute(s) - REMEMBERED_MINUTES then
      -- What a lost connection brings after a later call is old, and was done.
      local is_next = IS_NUMBERED and tonumber(call[2]) < tonumber(FINGERPRINT)
      return not is_next and call or nil
    end
  end
end

-- Keeps how a call ended that found, or made, a revision: behind those of the same one.
local function keep_call(s, rev, ...)
  local calls, alike, oldest = {}, 0, nil
  for _, call in ipairs(known_calls()) do
    if call[1] ~= CALL_KEY then
      calls[#calls + 1] = call
      if is_of_journal(call[1]) == IS_NUMBERED then
        alike, oldest = alike + 1, oldest or #calls
      end
    end
  end
  if alike >= MOST_CALLS then table.remove(calls, oldest) end
  local place = #calls
  while place > 0 and calls[place][4] > rev do place = place - 1 end
  table.insert(calls, place + 1, {CALL_KEY, FINGERPRINT, minute(s), rev, ...})
  s.calls = cmsgpack.pack(calls)
end

-- Has commit() keep how this call ended.
local function remember(s, ...)
  if CALL_KEY ~= '' then keep_call(s, s.rev, ...) end
end

-- The same answer as to the first run of this call.
local function repeated(s, call)
  if call[2] ~= FINGERPRINT then return {'reused'} end
  if call[5] ~= OK then return {call[5], call[6], 1} end
  return reply(s, call[4], unpack(call, 6))
end

-- A refusal, which a keyed call remembers where there is a session, and then tells its tag; else
-- nothing is written.
local function refuse(s, outcome, detail)
  if not s or CALL_KEY == '' then return {outcome, detail, 0} end
  remember(s, outcome, detail)
  set_expiry(s)
  redis.call('LSET', LOG, CALLS_AT, s.calls)
  return {outcome, detail, 0, tag(s), NOW}
end

-- What ends a call whose answer would be larger than it may be. A trial, which has spoken for little
-- memory, leaves no trace: it comes again when it has spoken for enough.
local function passed(s, is_trial, what)
  if is_trial then return {'larger'} end
  return refuse(s, 'too_large', what)
end

-- The answer that ends a replay before it begins, nil if the session is as it was then.
local function misfit(s)
  if s and s.gen ~= GEN then return {s.created_at >= REPLAY.at and 'gone' or 'other'} end
  if not s and redis.call('SISMEMBER', GONE, GEN) == 1 then return {'gone'} end
  local rev = s and s.rev or 0
  if rev > REPLAY.follows then return {'known', rev} end
  if rev < REPLAY.follows then return {'gap', rev} end
end

-- The answer that ends a call before it begins, nil if it may go on. `current` is the tag of what
-- the conditions mean.
local function ended(s, current)
  if REPLAY then return misfit(s) end
  local call = recall(s)
  if call then return repeated(s, call) end
  if LEASE ~= '' and redis.call('GET', KEYS[4]) ~= LEASE then return {'wrong_lease'} end
  if is_refused(current) then return refuse(s, 'precondition', current or '') end
end

-- A new session at revision 1. Its first write is one that a full Redis refuses. State that lost
-- its log (to an eviction policy) belongs to another session, and must not come back in this one.
local function create()
  redis.call('RPUSH', LOG, '', '', '')
  redis.call('UNLINK', STATE, EXPIRIES)
  return {gen = GEN, rev = 1, created_at = NOW, updated_at = NOW, renewed_at = NOW,
    ttl = tonumber(DEFAULT_TTL), touch = 'write', max_age = 0,
    max_messages = tonumber(DEFAULT_MAX_MESSAGES), last_seq = 0, first = 1, newest = 0, count = 0,
    sealed = 0, largest = 0, dedupe = '', expiring = 0, has_changed = true}
end

-- True if the call names a setting, which is a change even when the value is the same.
local function change_settings(s)
  if TTL ~= '' then s.ttl = tonumber(TTL) end
  if MAX_MESSAGES ~= '' then s.max_messages = tonumber(MAX_MESSAGES) end
  if TOUCH ~= '' then s.touch = TOUCH end
  if MAX_AGE ~= '' then s.max_age = tonumber(MAX_AGE) end
  return TTL .. MAX_MESSAGES .. TOUCH .. MAX_AGE ~= ''
end

local function renew(s)
  if TTL ~= '' or s.touch ~= 'never' then s.renewed_at = NOW end
end

-- The clock of the server may step back; what a session tells of its past may not.
local function advance(s)
  s.has_changed = true
  s.rev = s.rev + 1
  s.updated_at = math.max(NOW, s.updated_at)
end

-- Gives a key what ARGV has from first to last, in whole steps, none too long.
local function fill(key, command, first, last, step)
  in_slices(ARGV, first, last, step, function(from, to)
    redis.call(command, key, unpack(ARGV, from, to))
  end)
end
