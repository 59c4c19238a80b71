"""The lower layers of the governor: plain, so that little of what has failed is theirs too.

They share how the hot tier is evicted and the collector run, but no lever, pace, task or thread.
"""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from service.clock import Clock
from service.memory.cascade import Manager
from service.memory.cleanup import LOG, Moment, announce, conclude, warn_of_use
from service.memory.levers import Relief, collect
from service.memory.record import Record
from service.vitals import LeverReport, MemoryReading

PAUSE_SECONDS = 1.0
IDLE_PAUSE_SECONDS = 5.0
PAUSE_PER_COST = 20

STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A plain way to free memory: it returns the bytes that it accounts as freed."""

    name: str
    run: Callable[[Relief], int]


class Plain:
    """A sample and a few steps, without a thread, a task or a wait that could fail."""

    def __init__(
        self,
        name: Manager,
        sample: Callable[[], MemoryReading],
        steps: Sequence[Step],
        *,
        record: Record,
        clock: Clock,
    ) -> None:
        self.name = name
        self._sample = sample
        self._steps = tuple(steps)
        self._record = record
        self._clock = clock
        self._due_at = 0.0
        self.failures = 0

    async def turn(self, *, may_act: bool) -> None:
        """Sample, and take the steps at most once a second, less often when they bring nothing."""
        now = self._clock.monotonic()
        has_risen = self._record.observe(self._sample(), now)
        relief = self._record.relief
        if may_act and relief is not None and (has_risen or now >= self._due_at):
            await self.act(relief)

    async def act(self, relief: Relief) -> None:
        """Take all steps."""
        began = Moment.of(self._clock, self._record.reading.used_bytes)
        warn_of_use(self._record.reading)
        announce(relief.tier)
        reports = tuple(self._reports(relief))
        now = self._clock.monotonic()
        self._record.observe(self._sample(), now)
        ended = Moment.of(self._clock, self._record.reading.used_bytes)
        cleanup = conclude(relief, reports, began=began, ended=ended)
        self._record.conclude(cleanup)
        has_gained = cleanup.freed_bytes or any(report.freed_bytes for report in reports)
        least = PAUSE_SECONDS if has_gained else IDLE_PAUSE_SECONDS
        self._due_at = now + max(least, PAUSE_PER_COST * (now - began.seconds))

    def _reports(self, relief: Relief) -> Iterator[LeverReport]:
        """Take each step; one that fails does not keep the others from being taken."""
        for step in self._steps:
            before_bytes, began = self._sample().used_bytes, self._clock.monotonic()
            yield LeverReport(
                name=step.name,
                available=True,
                freed_bytes=self._take(step, relief),
                before_bytes=before_bytes,
                after_bytes=self._sample().used_bytes,
                ms=(self._clock.monotonic() - began) * 1_000,
            )

    def _take(self, step: Step, relief: Relief) -> int:
        """Bytes that the step freed; 0 if it failed, which is counted, and told the first time."""
        try:
            return step.run(relief)
        except Exception:  # noqa: BLE001 # the others must still be taken
            self.failures += 1
            if self.failures == 1:
                LOG.exception("Memory step %s of layer %s failed", step.name, self.name)
            return 0


def nothing(_: Relief) -> int:
    """Free nothing."""
    return 0


def collected(relief: Relief) -> int:
    """Run Python's collector; what it brings shows in the use."""
    collect(relief)
    return 0


def own_bytes() -> int:
    """Resident bytes of this process that are not shared with a file: proc(5), fields 2 and 3.

    Raises OSError where there is no /proc. The file is opened anew: no descriptor can go bad.
    """
    _, resident, shared, _ = STATM.read_bytes().split(None, 3)
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def trimmed(_: Relief) -> int:
    """Give free pages back to the system, with glibc; what it brings shows in the use."""
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if function is not None:
        function(ctypes.c_size_t(0))
    return 0


def own_reading(record: Record, own_bytes: Callable[[], int]) -> MemoryReading:
    """Sample this process alone, against the quota as it was told before."""
    return replace(record.reading, used_bytes=own_bytes(), usage_source="statm")
