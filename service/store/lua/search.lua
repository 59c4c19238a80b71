-- Finding messages by the digest of their identity. Stands after session.lua.

local DIGEST_BYTES = 8

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
