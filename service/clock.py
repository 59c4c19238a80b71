"""Time is passed in: the only place that asks the operating system what time it is."""

import time
from typing import Protocol


class Clock(Protocol):
    """What the service needs to know about time."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps back; only differences mean anything."""
        ...

    def unix_ms(self) -> int:
        """Milliseconds since 1970 (UTC), for timestamps that people read."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def unix_ms(self) -> int:
        """Milliseconds of CLOCK_REALTIME."""
        return time.time_ns() // 1_000_000
