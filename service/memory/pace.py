"""When to act again while a tier lasts, and how fast memory grows."""

from collections import deque

from service.vitals import MemoryReading

MIN_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0
# A run that brings less than this part of what was asked has brought nothing.
MIN_GAIN = 0.01
# Growth by this part of the quota since the last run is answered at once: a burst waits for nobody.
MIN_GROWTH = 0.05

WINDOW_SECONDS = 10.0
MIN_SPAN_SECONDS = 1.0
HORIZON_SECONDS = 3_600.0


class Pace:
    """Lets a cleanup run once a second: less often when it brings nothing, at once on growth."""

    def __init__(self) -> None:
        self._ran_at: float | None = None
        self._pause_seconds = MIN_PAUSE_SECONDS
        self._used_bytes = 0

    def is_due(self, now: float, reading: MemoryReading) -> bool:
        """Tell whether to act at `now` (monotonic seconds) on `reading`."""
        if self._ran_at is None:
            return True
        grown_bytes = reading.used_bytes - self._used_bytes
        has_grown = grown_bytes >= MIN_GROWTH * reading.quota_bytes
        return has_grown or now - self._ran_at >= self._pause_seconds

    def record(self, now: float, *, asked_bytes: int, freed_bytes: int, used_bytes: int) -> None:
        """Note a run that ended at `now` and left `used_bytes` in use."""
        self._ran_at = now
        self._used_bytes = used_bytes
        if freed_bytes < MIN_GAIN * asked_bytes:
            self._pause_seconds = min(self._pause_seconds * 2, MAX_PAUSE_SECONDS)
        else:
            self._pause_seconds = MIN_PAUSE_SECONDS

    def reset(self) -> None:
        """Act at the next chance: the tier has risen."""
        self._ran_at = None
        self._pause_seconds = MIN_PAUSE_SECONDS


class Growth:
    """The use over the last 10 s, and when it would reach the quota at that rate."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, used_bytes: int) -> None:
        """Note a sample taken at `now` (monotonic seconds)."""
        self._samples.append((now, used_bytes))
        while now - self._samples[0][0] > WINDOW_SECONDS:
            self._samples.popleft()

    def reset(self) -> None:
        """Begin anew: a cleanup has made a step that is no trend."""
        self._samples.clear()

    def seconds_to(self, quota_bytes: int) -> float | None:
        """Seconds until the quota is reached; None when not growing.

        Beyond an hour counts as not growing: 10 s of noise say nothing about that.
        """
        if not self._samples:
            return None
        (first, first_bytes), (last, last_bytes) = self._samples[0], self._samples[-1]
        grown_bytes = last_bytes - first_bytes
        if last - first < MIN_SPAN_SECONDS or grown_bytes <= 0:
            return None
        seconds = max(0, quota_bytes - last_bytes) * (last - first) / grown_bytes
        return seconds if seconds <= HORIZON_SECONDS else None
