"""The hot tier: what was read or written last, packed in process memory. Pure, without I/O."""

from service.hot.entry import Entry
from service.hot.packed_log import MOST_LINES
from service.hot.tier import Fill, HotTier

__all__ = ["MOST_LINES", "Entry", "Fill", "HotTier"]
