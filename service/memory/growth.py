"""How fast memory grows, and what follows from that before a mark is reached."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from service.vitals import MemoryReading, Tier, Watermarks

WINDOW_SECONDS = 10.0
MIN_SPAN_SECONDS = 1.0
HORIZON_SECONDS = 3_600.0

RECENT_SECONDS = 1.0
LEAST_RECENT_SECONDS = 0.4
EARLY_SECONDS = 3.0
STANDARD_EARLY = 0.05
EMERGENCY_EARLY = 0.10
"""Below its mark: as early as a tier may be entered for growth that would fill the quota in 3 s."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Bytes in use at a time (monotonic seconds)."""

    at: float
    used_bytes: int


def steady_rate(samples: Sequence[Sample]) -> float:
    """Bytes a second by which the use grew in both halves of `samples`; 0 = it did not.

    The smaller of both counts: a step, as one large request makes it, is no trend.
    """
    middle = len(samples) // 2
    halves = (samples[: middle + 1], samples[middle:])
    return max(0.0, min(_rate(half[0], half[-1]) for half in halves)) if middle else 0.0


def _rate(first: Sample, last: Sample) -> float:
    seconds = last.at - first.at
    return (last.used_bytes - first.used_bytes) / seconds if seconds > 0 else 0.0


def seconds_to_quota(reading: MemoryReading, rate: float) -> float | None:
    """Seconds in which `rate` (bytes a second) fills the quota; None = it does not grow."""
    if rate <= 0:
        return None
    return max(0, reading.quota_bytes - reading.used_bytes) / rate


def early_tier(fraction: float, seconds: float | None, marks: Watermarks) -> Tier:
    """The tier that growth asks for: the quota would be reached in `seconds`; None = never."""
    if seconds is None or seconds > EARLY_SECONDS:
        return Tier.NORMAL
    # With marks close to each other the emergency still comes after the standard tier.
    if fraction >= max(marks.emergency_enter - EMERGENCY_EARLY, marks.standard_enter):
        return Tier.EMERGENCY
    if fraction >= marks.standard_enter - STANDARD_EARLY:
        return Tier.STANDARD
    return Tier.NORMAL


class Growth:
    """The use over the last 10 s, and when it would reach the quota at that rate."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()

    def add(self, now: float, used_bytes: int) -> None:
        """Note a sample taken at `now` (monotonic seconds)."""
        self._samples.append(Sample(now, used_bytes))
        while now - self._samples[0].at > WINDOW_SECONDS:
            self._samples.popleft()

    def reset(self) -> None:
        """Begin anew: a cleanup has made a step that is no trend."""
        self._samples.clear()

    def recent_rate(self) -> float:
        """Bytes a second by which the use grew steadily in the last second."""
        recent: list[Sample] = []
        for sample in reversed(self._samples):
            if self._samples[-1].at - sample.at > RECENT_SECONDS:
                break
            recent.append(sample)
        if not recent or recent[0].at - recent[-1].at < LEAST_RECENT_SECONDS:
            return 0.0
        return steady_rate(recent[::-1])

    def seconds_to(self, quota_bytes: int) -> float | None:
        """Seconds until the quota is reached; None when not growing.

        Beyond an hour counts as not growing: 10 s of noise say nothing about that.
        """
        if not self._samples:
            return None
        first, last = self._samples[0], self._samples[-1]
        grown_bytes = last.used_bytes - first.used_bytes
        if last.at - first.at < MIN_SPAN_SECONDS or grown_bytes <= 0:
            return None
        seconds = max(0, quota_bytes - last.used_bytes) * (last.at - first.at) / grown_bytes
        return seconds if seconds <= HORIZON_SECONDS else None
