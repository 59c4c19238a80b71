"""When to act again while a tier lasts."""

from service.vitals import MemoryReading

MIN_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0
# A run that brings less than this part of what was asked has brought nothing.
MIN_GAIN = 0.01
# Growth by this part of the quota since the last run is answered before the pause is over.
MIN_GROWTH = 0.05
# Runs take at most this part of the time; but for the first one of a tier, which waits for nobody.
MOST_OF_TIME = 0.05


class Pace:
    """Lets a cleanup run once a second: less often when it brings nothing, sooner on growth."""

    def __init__(self) -> None:
        self._ran_at: float | None = None
        self._pause_seconds = MIN_PAUSE_SECONDS
        self._cost_seconds = 0.0
        self._used_bytes = 0

    def is_due(self, now: float, reading: MemoryReading) -> bool:
        """Tell whether to act at `now` (monotonic seconds) on `reading`."""
        if self._ran_at is None:
            return True
        grown_bytes = reading.used_bytes - self._used_bytes
        has_grown = grown_bytes >= MIN_GROWTH * reading.quota_bytes
        least_seconds = self._cost_seconds * (1 / MOST_OF_TIME - 1)
        pause_seconds = 0.0 if has_grown else self._pause_seconds
        return now - self._ran_at >= max(pause_seconds, least_seconds)

    def record(
        self,
        now: float,
        *,
        asked_bytes: int,
        freed_bytes: int,
        used_bytes: int,
        cost_seconds: float,
    ) -> None:
        """Note a run that ended at `now`, took `cost_seconds` and left `used_bytes` in use."""
        self._ran_at = now
        self._used_bytes = used_bytes
        self._cost_seconds = cost_seconds
        if freed_bytes < MIN_GAIN * asked_bytes:
            self._pause_seconds = min(self._pause_seconds * 2, MAX_PAUSE_SECONDS)
        else:
            self._pause_seconds = MIN_PAUSE_SECONDS

    def reset(self) -> None:
        """Act at the next chance: the tier has risen."""
        self._ran_at = None
        self._pause_seconds = MIN_PAUSE_SECONDS
