-- How long state values are, told without unpacking them; codec.py says how they are packed.

local KIND_AT = 7          -- byte of a value, behind its tag
local LENGTH_FROM = 4      -- of its kind, the factor of how many bytes the length of its data has
local MOST_LENGTHS = 4

-- Bytes of a value as it was sent, its tag and kind included.
local function value_bytes(value)
  local count = math.floor(string.byte(value, KIND_AT) / LENGTH_FROM) % MOST_LENGTHS
  return count == 0 and #value or KIND_AT + struct.unpack('>I' .. count, value, KIND_AT + 1)
end
