"""Usage as the control group that sets the quota tells it: anonymous memory + swap."""

import contextlib
import os
from collections import deque
from pathlib import Path
from typing import Protocol

from service.clock import Clock
from service.memory.kept_file import KeptFile, number_after, required_number

LOOK_SECONDS = 0.5
BEYOND_LOOKS = 10
"""5 s: more than twice as long as the kernel was seen to lag."""


class GroupUsage(Protocol):
    """The figures of one kind of group."""

    @property
    def name(self) -> str:
        """The word for it in /health."""
        ...

    @property
    def degraded(self) -> tuple[str, ...]:
        """What it cannot see, in words of /health."""
        ...

    def read(self) -> int:
        """Bytes in use now, as far as the kernel has come with counting."""
        ...

    def close(self) -> None:
        """Give back what is kept open."""
        ...


class Cgroup1Usage:
    """`total_rss` + `total_swap` of a v1 group: everything in it and below it, without cache."""

    name = "cgroup1"

    def __init__(self, group: Path) -> None:
        with contextlib.ExitStack() as stack:
            self._stat = stack.enter_context(KeptFile(group / "memory.stat"))
            self._has_swap = number_after(b"total_swap ", self._stat.read()) is not None
            self.read()
            stack.pop_all()

    @property
    def degraded(self) -> tuple[str, ...]:
        """Without swap accounting the swapped bytes are not seen."""
        return () if self._has_swap else ("usage_without_swap",)

    def read(self) -> int:
        """Bytes of `memory.stat` (7 us)."""
        text = self._stat.read()
        return required_number(b"total_rss ", text) + (number_after(b"total_swap ", text) or 0)

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
        return required_number(b"anon ", self._stat.read()) + swap_bytes

    def close(self) -> None:
        """Give the descriptors back."""
        self._stack.close()


class FreshUsage:
    """A group's figures, made fresh: our own pages as they are now, plus what else the group has.

    `memory.stat` may lag in both directions: on kernel 6.18 it stood still for 1.6 s while the
    group grew by 114 MB, up to an OOM kill, and counted ended processes for 2 s. Our own anonymous
    pages (statm, 1 us) are up to date. What the group has beyond them (other processes, swap) is
    looked at every half second, and is the median of 5 s, which no lag of 2 s can move.
    """

    def __init__(self, source: GroupUsage, clock: Clock, root: Path = Path("/")) -> None:
        self._source = source
        self._clock = clock
        self._statm = KeptFile(root / "proc/self/statm")
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._beyond: deque[int] = deque(maxlen=BEYOND_LOOKS)
        self._beyond_bytes = 0
        self._due_at = clock.monotonic()

    @property
    def name(self) -> str:
        """The group's own word."""
        return self._source.name

    @property
    def degraded(self) -> tuple[str, ...]:
        """What the group does not tell."""
        return self._source.degraded

    def read(self) -> int:
        """Bytes now: 2 us, 12 us every half second."""
        own_bytes = self._read_own()
        now = self._clock.monotonic()
        if now >= self._due_at:
            self._due_at = now + LOOK_SECONDS
            self._beyond.append(self._source.read() - own_bytes)
            self._beyond_bytes = max(0, sorted(self._beyond)[len(self._beyond) // 2])
        return own_bytes + self._beyond_bytes

    async def correct(self) -> None:
        """Nothing here is corrected by looking longer."""

    def close(self) -> None:
        """Give the descriptors back."""
        self._statm.close()
        self._source.close()

    def _read_own(self) -> int:
        """Resident pages that are not shared with a file: proc(5), fields 2 and 3."""
        _, resident, shared, _ = self._statm.read().split(None, 3)
        return (int(resident) - int(shared)) * self._page_bytes
