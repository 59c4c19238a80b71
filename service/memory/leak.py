"""Leak sense: whether the process grows by what nothing that it counts explains.

What is used beyond what is counted is taken where the use is lowest in each window: bursts and
garbage come and go above that floor, a leak lifts it window after window. Two scales look for it: a
fast leak shows in a quarter of an hour, a slow one in four hours. Pure: every time is passed in.
"""

import logging
from collections import deque
from dataclasses import dataclass
from itertools import combinations, pairwise

from service.memory.plan import FACTOR

FINE_SECONDS, COARSE_SECONDS = 60.0, 960.0
"""Of one window on each scale."""

WINDOWS = 16
LEAST_GROWN = 13
"""Of the 15 steps between them: a leak may pause, noise goes down as often as up."""

LEAST_SHARE = 0.03
"""Of the quota: growth on one scale that is worth a word."""

_HOUR_SECONDS = 3_600.0
_MIB = 1_048_576
_log = logging.getLogger("ballast.memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakStatus:
    """What was found, on the scale that shows most: growth, over so many windows of such a length.

    The slope is None as long as there are not enough windows.
    """

    is_suspected: bool = False
    slope_bytes_per_hour: int | None = None
    windows: int = 0
    window_seconds: float = FINE_SECONDS


@dataclass(frozen=True, slots=True)
class _Floor:
    """The lowest use of a window, and what of it was not explained."""

    at: float
    used_bytes: int
    beyond_bytes: float


class _Scale:
    """The floors of the last windows of one length."""

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._began = 0.0
        self._lowest: _Floor | None = None
        self._floors: deque[_Floor] = deque(maxlen=WINDOWS)

    def add(self, now: float, used_bytes: int, beyond_bytes: float) -> bool:
        """Note a sample; tell whether it has ended a window."""
        lowest, is_over = self._lowest, False
        if lowest is not None and now - self._began >= self._window_seconds:
            self._floors.append(lowest)
            lowest, is_over = None, True
        if lowest is None:
            self._began = now
        if lowest is None or used_bytes < lowest.used_bytes:
            lowest = _Floor(now, used_bytes, beyond_bytes)
        self._lowest = lowest
        return is_over

    def judge(self, quota_bytes: int) -> LeakStatus:
        """Say what the floors tell."""
        floors = self._floors
        if len(floors) < WINDOWS:
            return LeakStatus(windows=len(floors), window_seconds=self._window_seconds)
        slope = _slope(floors)
        grown = sum(
            later.beyond_bytes > earlier.beyond_bytes for earlier, later in pairwise(floors)
        )
        total_bytes = slope * (floors[-1].at - floors[0].at)
        return LeakStatus(
            is_suspected=grown >= LEAST_GROWN and total_bytes > LEAST_SHARE * quota_bytes,
            slope_bytes_per_hour=round(slope * _HOUR_SECONDS),
            windows=len(floors),
            window_seconds=self._window_seconds,
        )


class Leak:
    """Hears every sample, and looks at the end of each window."""

    def __init__(self, quota_bytes: int) -> None:
        """Judge growth by its share of a quota."""
        self._quota_bytes = quota_bytes
        self._fine, self._coarse = _Scale(FINE_SECONDS), _Scale(COARSE_SECONDS)
        self._status = LeakStatus()
        self._is_told = False

    @property
    def status(self) -> LeakStatus:
        """What the last window told."""
        return self._status

    def add(self, now: float, used_bytes: int, accounted_bytes: int) -> None:
        """Note a sample at `now` (monotonic seconds): bytes in use, and those that are counted.

        A counted byte explains FACTOR used ones: less would call a hot tier that fills a leak.
        """
        beyond_bytes = used_bytes - FACTOR * accounted_bytes
        is_over = self._coarse.add(now, used_bytes, beyond_bytes)
        if self._fine.add(now, used_bytes, beyond_bytes) or is_over:
            self._look()

    def _look(self) -> None:
        fine, coarse = (scale.judge(self._quota_bytes) for scale in (self._fine, self._coarse))
        self._status = coarse if coarse.is_suspected and not fine.is_suspected else fine
        if self._status.is_suspected and not self._is_told:
            self._is_told = True
            _tell(self._status)


def _slope(floors: deque[_Floor]) -> float:
    """Return the median of the slopes between all pairs (Theil-Sen): one step does not move it."""
    slopes = sorted(
        (later.beyond_bytes - earlier.beyond_bytes) / (later.at - earlier.at)
        for earlier, later in combinations(floors, 2)
    )
    return slopes[len(slopes) // 2]


def _tell(status: LeakStatus) -> None:
    """Log it; /health goes on showing it."""
    _log.warning(
        "Memory grows by %.1f MB an hour without a reason that is known: see what grows with "
        "`scripts/memctl leak`.",
        (status.slope_bytes_per_hour or 0) / _MIB,
    )
