-- Stands first in a script that does what a caller asks for now.

local REPLAY = nil
