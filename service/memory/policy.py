"""When the governor acts, how often it looks, and what it then asks for."""

from dataclasses import dataclass, replace

from service.memory.levers import Relief
from service.memory.tiers import DEFAULT_MARKS, excess_bytes
from service.vitals import MemoryFault, MemoryReading, Tier, Watermarks

INTERVAL_SECONDS = 0.1
LATE_SECONDS = 2.0
LATE_INTERVALS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When the governor acts, and how often it looks; not `enabled` = it only looks.

    `faults` are layers that a test wants to fail.
    """

    marks: Watermarks = DEFAULT_MARKS
    enabled: bool = True
    interval_seconds: float = INTERVAL_SECONDS
    faults: frozenset[MemoryFault] = frozenset()

    @property
    def late_seconds(self) -> float:
        """Seconds without a successful tick after which the governor counts as late."""
        return max(LATE_SECONDS, LATE_INTERVALS * self.interval_seconds)

    def relief(self, tier: Tier, reading: MemoryReading) -> Relief | None:
        """What to ask of the levers; None = nothing: below the mark, or switched off."""
        excess = excess_bytes(tier, reading, self.marks)
        return Relief(tier=tier, excess_bytes=excess) if self.enabled and excess else None

    def requested(self, tier: Tier, reading: MemoryReading) -> Relief:
        """What a person asks for: at least as much as if the use stood at the mark of `tier`."""
        at_mark = excess_bytes(tier, at_enter_mark(tier, reading, self.marks), self.marks)
        excess = max(at_mark, excess_bytes(tier, reading, self.marks))
        return Relief(tier=tier, excess_bytes=excess, requested=True)


DEFAULT_POLICY = Policy()


def at_enter_mark(tier: Tier, reading: MemoryReading, marks: Watermarks) -> MemoryReading:
    """Return `reading` as it would be where `tier` begins."""
    enter = marks.standard_enter if tier is Tier.STANDARD else marks.emergency_enter
    return replace(reading, used_bytes=int(enter * reading.quota_bytes))
