"""What explains the memory in use: the plan, what is held at rest, and what is under way."""

from collections.abc import Callable

from service.memory.admission import Admission
from service.memory.listeners import Listeners
from service.memory.plan import Plan
from service.vitals import AccountsStatus, MemoryReading, Tier

LEAST_BYTES = 16_777_216
"""Of less than that a factor says more about the interpreter."""


class Accounts:
    """Compares each sample with what was counted."""

    def __init__(
        self,
        plan: Plan,
        resting_bytes: Callable[[], int],
        admission: Admission,
        listeners: Listeners,
        *,
        is_acting: bool = True,
    ) -> None:
        """Compare with `plan`; not acting = samples only tell.

        `resting_bytes` are those of the hot tier, the journal and the replay log.
        """
        self._is_acting = is_acting
        self._plan = plan
        self._resting_bytes = resting_bytes
        self._admission = admission
        self._listeners = listeners
        self._factor: float | None = None

    @property
    def counted_bytes(self) -> int:
        """Bytes of hot tier, journal and replay log, and of all that is under way."""
        return self._resting_bytes() + self._admission.held_bytes

    def observe(self, reading: MemoryReading, tier: Tier) -> None:
        """Hear of a sample, and tell admission how far the emergency is."""
        counted_bytes, grown_bytes = self.counted_bytes, reading.used_bytes - self._plan.own_bytes
        is_enough = counted_bytes >= LEAST_BYTES
        self._factor = max(0.0, grown_bytes / counted_bytes) if is_enough else None
        if self._is_acting:
            headroom_bytes = self._plan.emergency_bytes - reading.used_bytes
            self._admission.observe(headroom_bytes, is_shedding=tier is Tier.EMERGENCY)

    @property
    def status(self) -> AccountsStatus:
        """All that is counted, in figures."""
        return AccountsStatus(
            factor=self._factor,
            held_bytes=self._admission.held_bytes,
            limit_bytes=self._admission.limit_bytes,
            peak_bytes=self._admission.peak_bytes,
            refused=self._admission.refused,
            listeners=self._listeners.kinds,
            oldest_listener_seconds=self._listeners.oldest_seconds,
            queued_bytes=self._listeners.queued_bytes,
            listeners_closed=self._listeners.closed,
            is_tight=self._plan.is_tight,
        )
