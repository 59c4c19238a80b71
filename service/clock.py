"""Time is passed in: the only place that asks the operating system what time it is."""

import time
from datetime import UTC, datetime
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


def rfc3339(ms: int) -> str:
    """Return milliseconds since 1970 as RFC 3339."""
    return rfc3339_bytes(ms).decode()


def rfc3339_bytes(ms: int) -> bytes:
    """Return milliseconds since 1970 as RFC 3339, in ASCII."""
    return _seconds[ms // 1000] + _MILLISECONDS[ms % 1000]


class _Seconds(dict[int, bytes]):
    """The text of each second that was asked for, as long as they are few: making it is slow."""

    def __missing__(self, second: int) -> bytes:
        if len(self) >= _MOST_SECONDS:
            self.clear()
        text = datetime.fromtimestamp(second, UTC).isoformat()[:19].encode()
        self[second] = text
        return text


_MOST_SECONDS = 4_096
_MILLISECONDS = [b".%03dZ" % ms for ms in range(1_000)]
_seconds = _Seconds()
