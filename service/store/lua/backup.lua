-- Keeps a copy of a session's state: not for a session that is gone, and not in the place of a newer
-- copy, nor of one that an earlier session of this id has left, unless that is wanted.
--
-- KEYS[1]  BACKUP  a STRING: at (6 bytes) .. rev (6) .. keys (4) .. size of all (4) .. gen (8) ..
--                  archive. Without an archive it says that there is none any more.
-- KEYS[2]  LOG     of the session, where it is in the same Redis
-- ARGV[1]  the copy, ARGV[2] for how many ms it is kept
-- ARGV[3]  '1' = also in the place of what an earlier session has left
-- Answers  {'ok'} | {'refused'}
--
-- To keep the same copy again is refused, and changes nothing: the call may be repeated.

local BACKUP, LOG = KEYS[1], KEYS[2]
local COPY, LIFE, REPLACES = ARGV[1], ARGV[2], ARGV[3] == '1'
local HEAD, HEAD_BYTES = '>I6I6I4I4c8', 28

local function read_head(copy)
  if #copy < HEAD_BYTES then return nil end
  local at, rev, _, size, gen = struct.unpack(HEAD, copy)
  return {at = at, rev = rev, gen = gen, is_empty = size == HEAD_BYTES}
end

local function is_there(gen)
  local header = redis.call('LINDEX', LOG, 0)
  return header and cmsgpack.unpack(header)[2] == gen
end

local function is_in_the_way(old, new)
  if not old then return false end
  if old.is_empty then return old.at >= new.at end
  if old.gen == new.gen then return old.rev >= new.rev end
  return not REPLACES
end

local new = read_head(COPY)
if LOG and not is_there(new.gen) then return {'refused'} end
if is_in_the_way(read_head(redis.call('GETRANGE', BACKUP, 0, HEAD_BYTES - 1)), new) then
  return {'refused'}
end
-- A full Redis takes this, and then the rest.
if new.is_empty then redis.call('UNLINK', BACKUP) end
if not (new.is_empty and LOG) then redis.call('SET', BACKUP, COPY, 'PX', LIFE) end
return {'ok'}
