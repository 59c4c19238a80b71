"""Which lines of code allocate what stays: tracemalloc, on demand and for seconds only.

While it traces, each allocation takes two to four times as long, and some 80 bytes more. So it ends
early when these have come to MOST_TRACE_BYTES, and there is one at a time.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import Conflict

if TYPE_CHECKING:
    import tracemalloc

POLL_SECONDS = 0.25
MOST_TRACE_BYTES = 4_194_304


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line of code: how many allocations of it are still there, and their bytes."""

    file: str
    line: int
    size_bytes: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocations:
    """What was allocated in so many seconds and is still there; places by size, largest first."""

    seconds: float
    size_bytes: int
    count: int
    places: tuple[Place, ...]


async def trace_allocations(
    seconds: float, most_places: int, check_wanted: Callable[[], Awaitable[None]]
) -> Allocations:
    """Trace for so long; `check_wanted` raises when nobody wants to know any more.

    Raises Conflict while another trace is on.
    """
    import tracemalloc  # noqa: PLC0415 # with pickle it takes 0.7 MB, and hardly anyone ever asks

    if tracemalloc.is_tracing():
        raise Conflict("Allocations are being traced: wait for that.", code="trace_in_progress")
    tracemalloc.start()
    try:
        polls = 0
        while polls * POLL_SECONDS < seconds:
            if tracemalloc.get_tracemalloc_memory() > MOST_TRACE_BYTES:
                break
            await asyncio.sleep(POLL_SECONDS)
            await check_wanted()
            polls += 1
        snapshot = await asyncio.to_thread(tracemalloc.take_snapshot)
    finally:
        tracemalloc.stop()
    statistics = await asyncio.to_thread(snapshot.statistics, "lineno")
    return _summed(min(seconds, polls * POLL_SECONDS), statistics, most_places)


def _summed(
    seconds: float, statistics: list["tracemalloc.Statistic"], most_places: int
) -> Allocations:
    return Allocations(
        seconds=seconds,
        size_bytes=sum(each.size for each in statistics),
        count=sum(each.count for each in statistics),
        places=tuple(map(_place, statistics[:most_places])),
    )


def _place(statistic: "tracemalloc.Statistic") -> Place:
    frame = statistic.traceback[0]
    return Place(
        file=_short(frame.filename),
        line=frame.lineno,
        size_bytes=statistic.size,
        count=statistic.count,
    )


def _short(path: str) -> str:
    """Return a file as an import would find it: without the folder of the installation."""
    folders = [folder for folder in sys.path if folder and path.startswith(f"{folder}/")]
    longest = max(map(len, folders), default=-1)
    return path[longest + 1 :]
