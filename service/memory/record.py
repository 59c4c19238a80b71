"""What is known of the memory of this process, whichever layer has looked."""

from collections.abc import Callable

from service.memory.cleanup import LOG
from service.memory.levers import Relief
from service.memory.policy import Policy
from service.memory.tiers import TierState, advance, is_above
from service.vitals import Cleanup, MemoryReading, Tier

OnReading = Callable[[MemoryReading, Tier], None]


def ignore(_: MemoryReading, __: Tier) -> None:
    """Nobody wants to hear of samples."""


class Record:
    """The last sample, the tier that follows from it, and what was done about it."""

    def __init__(
        self, reading: MemoryReading, policy: Policy, on_reading: OnReading = ignore
    ) -> None:
        """Begin with a first sample; `on_reading` is told of each further one and its tier."""
        self.reading = reading
        self.policy = policy
        self.peak_bytes = reading.used_bytes
        self.last_action: Cleanup | None = None
        self.cleanups = self.freed_bytes = self.hook_failures = 0
        self._state = TierState()
        self._on_reading = on_reading

    @property
    def tier(self) -> Tier:
        """The tier as of the last sample."""
        return self._state.tier

    @property
    def relief(self) -> Relief | None:
        """What to ask of the levers now; None = nothing."""
        return self.policy.relief(self.tier, self.reading)

    def observe(self, reading: MemoryReading, now: float, *, early: Tier = Tier.NORMAL) -> bool:
        """Note a sample taken at `now` (monotonic seconds); return whether the tier has risen."""
        before = self.tier
        self.reading = reading
        self.peak_bytes = max(self.peak_bytes, reading.used_bytes)
        self._state = advance(self._state, reading.fraction, self.policy.marks, now, early=early)
        self._tell()
        return is_above(self.tier, before)

    def conclude(self, cleanup: Cleanup) -> None:
        """Note what a cleanup brought."""
        self.last_action = cleanup
        self.cleanups += 1
        self.freed_bytes += cleanup.freed_bytes

    def _tell(self) -> None:
        """Tell who wants to know; a listener that fails takes no layer with it."""
        try:
            self._on_reading(self.reading, self.tier)
        except Exception:  # noqa: BLE001 # who listens to memory may not stop who looks after it
            self.hook_failures += 1
            if self.hook_failures == 1:
                LOG.exception("Memory samples cannot be passed on")
