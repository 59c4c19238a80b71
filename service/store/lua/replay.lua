-- Stands first in a script that plays a write again, to a Redis that may have lost it.
--
-- The last of ARGV, taken off here, are the revision that the write followed (0 = it made the
-- session) and the ms at which it was made: that time is NOW, so all comes to what it came to then.
-- KEYS[4]  GONE  a SET: the gens of this id that were deleted; it is there for the time of a replay
-- Answers  what the script answers, or {'known', rev} (it is there, or others wrote since)
--          | {'gap', rev} (what it followed is not there) | {'gone'} (the session ended later)
--          | {'other'} (an older session has the id, which nobody has told to have ended)

local REPLAY = {at = tonumber(table.remove(ARGV)), follows = tonumber(table.remove(ARGV))}
local GONE = KEYS[4]
local GONE_MS = 60000
