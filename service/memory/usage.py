"""What this process uses of its quota, sampled ten times a second in about 15 us.

In order: the figures of the control group that set the quota (anonymous memory + swap, so that the
page cache of a written file does not count), else PSS + swap of the process tree, else its RSS.
"""

import asyncio
import contextlib
import os
from collections import deque
from pathlib import Path
from typing import Protocol, Self

from service.memory.kept_file import KeptFile, number_after
from service.memory.machine import has_pss, own_rss_bytes, tree_bytes
from service.memory.quota import Quota, QuotaSource
from service.vitals import MemoryReading

KIB = 1_024
BEYOND_SAMPLES = 50
"""5 s at 10 Hz: more than twice as long as the kernel was seen to lag."""


class UsageSource(Protocol):
    """One way to know the bytes in use."""

    @property
    def name(self) -> str:
        """The word for it in /health."""
        ...

    @property
    def degraded(self) -> tuple[str, ...]:
        """What it cannot see, in words of /health."""
        ...

    def read(self) -> int:
        """Bytes in use now, in microseconds; called on the event loop."""
        ...

    def correct(self) -> None:
        """Replace what was estimated by what is exact, in milliseconds; called in a thread."""
        ...

    def close(self) -> None:
        """Give back what is kept open."""
        ...


class Cgroup1Usage:
    """`total_rss` + `total_swap` of a v1 group: everything in it and below it, without cache."""

    name = "cgroup1"

    def __init__(self, group: Path) -> None:
        self._stat = KeptFile(group / "memory.stat")
        try:
            self._has_swap = number_after(b"total_swap ", self._stat.read()) is not None
            self.read()
        except BaseException:
            self._stat.close()
            raise

    @property
    def degraded(self) -> tuple[str, ...]:
        """Without swap accounting the swapped bytes are not seen."""
        return () if self._has_swap else ("usage_without_swap",)

    def read(self) -> int:
        """Bytes of `memory.stat` (7 us)."""
        text = self._stat.read()
        return _required(b"total_rss ", text) + (number_after(b"total_swap ", text) or 0)

    def correct(self) -> None:
        """Nothing here is estimated."""

    def close(self) -> None:
        """Give the descriptor back."""
        self._stat.close()


class Cgroup2Usage:
    """`anon` + `memory.swap.current` of a v2 group: everything in it and below, without cache."""

    name = "cgroup2"

    def __init__(self, group: Path) -> None:
        with contextlib.ExitStack() as stack:
            self._stat = stack.enter_context(KeptFile(group / "memory.stat"))
            self._swap: KeptFile | None = None
            with contextlib.suppress(FileNotFoundError):
                self._swap = stack.enter_context(KeptFile(group / "memory.swap.current"))
            self.read()
            self._stack = stack.pop_all()

    @property
    def degraded(self) -> tuple[str, ...]:
        """Without swap accounting the swapped bytes are not seen."""
        return ("usage_without_swap",) if self._swap is None else ()

    def read(self) -> int:
        """Bytes of `memory.stat` and `memory.swap.current`."""
        swap_bytes = 0 if self._swap is None else int(self._swap.read())
        return _required(b"anon ", self._stat.read()) + swap_bytes

    def correct(self) -> None:
        """Nothing here is estimated."""

    def close(self) -> None:
        """Give the descriptors back."""
        self._stack.close()


class FreshUsage:
    """A group's figures, made fresh: our own pages as they are now, plus what else the group has.

    `memory.stat` may lag in both directions: on kernel 6.18 it stood still for 1.6 s while the
    group grew by 114 MB, up to an OOM kill, and counted ended processes for 2 s. Our own anonymous
    pages (statm, 1 us) are up to date. What the group has beyond them (other processes, swap) is
    the median of the last 5 s of samples, which no lag of 2 s can move.
    """

    def __init__(self, source: UsageSource, root: Path = Path("/")) -> None:
        self._source = source
        self._statm = KeptFile(root / "proc/self/statm")
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._beyond: deque[int] = deque(maxlen=BEYOND_SAMPLES)

    @property
    def name(self) -> str:
        """The group's own word."""
        return self._source.name

    @property
    def degraded(self) -> tuple[str, ...]:
        """What the group does not tell."""
        return self._source.degraded

    def read(self) -> int:
        """Bytes now (15 us)."""
        own_bytes = self._read_own()
        self._beyond.append(self._source.read() - own_bytes)
        return own_bytes + max(0, sorted(self._beyond)[len(self._beyond) // 2])

    def correct(self) -> None:
        """Nothing here is corrected by looking longer."""

    def close(self) -> None:
        """Give the descriptors back."""
        self._statm.close()
        self._source.close()

    def _read_own(self) -> int:
        """Resident pages that are not shared with a file: proc(5), fields 2 and 3."""
        _, resident, shared, _ = self._statm.read().split(None, 3)
        return (int(resident) - int(shared)) * self._page_bytes


class TreeUsage:
    """PSS + swap of the process tree, as our own RSS + swap now plus an offset.

    The offset is what the last look at the whole tree said to add or to take off. That look costs
    milliseconds, so it is taken in a thread every few seconds; in between the children are taken
    to stand still, and our own growth is seen at once, in swap as well.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.name = "pss" if has_pss() else "rss"
        self._status: KeptFile | None = None
        with contextlib.suppress(OSError):
            self._status = KeptFile(root / "proc/self/status")
        self._offset_bytes = 0
        self.correct()

    @property
    def degraded(self) -> tuple[str, ...]:
        """RSS counts shared pages in full and swapped ones not at all."""
        return ("usage_is_rss",) if self.name == "rss" else ()

    def read(self) -> int:
        """Bytes as estimated from our own RSS + swap (8 us)."""
        return max(0, self._own_bytes() + self._offset_bytes)

    def correct(self) -> None:
        """Look at the whole tree."""
        own_bytes = self._own_bytes()
        self._offset_bytes = tree_bytes() - own_bytes

    def close(self) -> None:
        """Give the descriptor back."""
        if self._status is not None:
            self._status.close()

    def _own_bytes(self) -> int:
        if self._status is None:
            return own_rss_bytes()
        text = self._status.read()
        return (_required(b"VmRSS:", text) + (number_after(b"VmSwap:", text) or 0)) * KIB


class UsageProbe:
    """What the governor asks: one sample as a `MemoryReading`."""

    def __init__(self, source: UsageSource, quota: Quota) -> None:
        self._source = source
        self._quota = quota

    @property
    def degraded(self) -> tuple[str, ...]:
        """What the source cannot see, in words of /health."""
        return self._source.degraded

    def read(self) -> MemoryReading:
        """Sample now."""
        return MemoryReading(
            used_bytes=self._source.read(),
            quota_bytes=self._quota.bytes,
            usage_source=self._source.name,
            quota_source=self._quota.source,
        )

    def used_bytes(self) -> int:
        """Sample now, the bytes alone: what levers measure themselves by."""
        return self._source.read()

    async def correct(self) -> None:
        """Make the next samples exact again; the event loop goes on meanwhile."""
        await asyncio.to_thread(self._source.correct)

    def close(self) -> None:
        """Give back what is kept open."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_probe(quota: Quota, *, root: Path = Path("/")) -> UsageProbe:
    """Open the best source of usage that there is for `quota`; the caller closes it."""
    group = _group_usage(quota)
    return UsageProbe(TreeUsage(root) if group is None else FreshUsage(group, root), quota)


def _group_usage(quota: Quota) -> UsageSource | None:
    """The group that limits us; None where its figures cannot be read, as on some platforms."""
    if quota.group is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        if quota.source is QuotaSource.CGROUP2:
            return Cgroup2Usage(quota.group)
        return Cgroup1Usage(quota.group)
    return None


def _required(label: bytes, text: bytes) -> int:
    """Find a number without which there is no reading."""
    number = number_after(label, text)
    if number is None:
        raise ValueError(f"no line {label.decode()!r} in a file of the kernel")
    return number
