-- What every mutation knows: conditions, settings, creation. Stands after session.lua.
--
-- ARGV[1..9] are common to all mutations. Conditions are '' (none), '*', or tags with a space
-- on both sides of each; settings are '' (keep) or the new value.

local GEN, IF_MATCH, IF_NONE_MATCH, DEFAULT_TTL, DEFAULT_MAX_MESSAGES = unpack(ARGV, 1, 5)
local TTL, MAX_MESSAGES, TOUCH, MAX_AGE = unpack(ARGV, 6, 9)

local function is_listed(tags, current)
  if not current then return false end
  return tags == '*' or string.find(tags, ' ' .. current .. ' ', 1, true) ~= nil
end

-- Whether the conditions refuse what is there now (RFC 9110, 13.2.2).
local function is_refused(current)
  if IF_MATCH ~= '' and not is_listed(IF_MATCH, current) then return true end
  return IF_NONE_MATCH ~= '' and is_listed(IF_NONE_MATCH, current)
end

local function refusal(current)
  return {'precondition', current or ''}
end

-- A new session at revision 1. Its first write is one that a full Redis refuses. State that lost
-- its log (to an eviction policy) belongs to another session, and must not come back in this one.
local function create()
  redis.call('RPUSH', LOG, '', '')
  redis.call('UNLINK', STATE)
  return {gen = GEN, rev = 1, created_at = NOW, updated_at = NOW, renewed_at = NOW,
    ttl = tonumber(DEFAULT_TTL), touch = 'write', max_age = 0,
    max_messages = tonumber(DEFAULT_MAX_MESSAGES), last_seq = 0, largest = 0, dedupe = '',
    has_changed = true}
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

-- Keeps the newest max_messages. The head is taken off and put back, so that no message is read.
local function trim(s)
  local excess = message_count() - s.max_messages
  if excess <= 0 then return end
  local head = redis.call('LRANGE', LOG, 0, HEAD - 1)
  redis.call('LTRIM', LOG, HEAD + excess, -1)
  redis.call('LPUSH', LOG, head[2], head[1])
end
