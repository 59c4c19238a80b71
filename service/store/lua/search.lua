-- Finding messages: by seq, by time, by the digest of their identity. Stands after session.lua.

local DIGEST_BYTES = 8

local function message(index)
  return redis.call('LINDEX', LOG, HEAD + index)
end

-- The first index in low..high whose message has field(message) >= bound.
local function lower_bound(low, high, field, bound)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if field(message(middle)) < bound then low = middle + 1 else high = middle end
  end
  return low
end

-- The first index whose seq is at least that. Seqs only grow, so where none was deleted both bounds
-- of the search are the answer: a look into the middle of a long log walks half of it.
local function index_of(count, seq)
  if count == 0 then return 0 end
  local low = math.min(count, math.max(0, count - (newest_seq() - seq + 1)))
  local high = math.min(count, math.max(0, seq - oldest_seq()))
  return lower_bound(low, high, seq_of, seq)
end

-- The newest seq that a ring which ends at `last` remembers under a digest, or nil. A hit across
-- two digests is none.
local function remembered(ring, last, digest)
  local found, from = nil, 1
  while true do
    local position = string.find(ring, digest, from, true)
    if not position then return found end
    if (position - 1) % DIGEST_BYTES == 0 then
      found = last - (#ring - position + 1) / DIGEST_BYTES + 1
    end
    from = position + 1
  end
end
