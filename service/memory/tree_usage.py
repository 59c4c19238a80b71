"""Usage of the process tree, where no group tells it: PSS + swap, else RSS."""

import asyncio
import contextlib
import os
from pathlib import Path

from service.clock import Clock
from service.memory.kept_file import KeptFile, number_after
from service.memory.machine import has_pss, own_rss_bytes, tree_bytes

KIB = 1_024
SWAP_SECONDS = 0.5


class TreeUsage:
    """PSS + swap of the process tree, as our own RSS + swap now plus an offset.

    The offset is what the last look at the whole tree said to add or to take off. That look costs
    milliseconds, so it is taken in a thread every few seconds; in between the children are taken
    to stand still. Our own growth is seen at once, in swap within half a second.
    """

    def __init__(self, clock: Clock, root: Path = Path("/")) -> None:
        self.name = "pss" if has_pss() else "rss"
        self._clock = clock
        self._own = _open_own(root)
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._swap_bytes = self._offset_bytes = 0
        self._due_at = clock.monotonic()
        self._look()

    @property
    def degraded(self) -> tuple[str, ...]:
        """RSS counts shared pages in full and swapped ones not at all."""
        return ("usage_is_rss",) if self.name == "rss" else ()

    def read(self) -> int:
        """Bytes as estimated from our own RSS + swap: 2 us, 10 us every half second."""
        return max(0, self._own_bytes() + self._offset_bytes)

    async def correct(self) -> None:
        """Look at the whole tree, in a thread: it takes milliseconds."""
        await asyncio.to_thread(self._look)

    def _look(self) -> None:
        own_bytes = self._own_bytes()
        self._offset_bytes = tree_bytes() - own_bytes

    def close(self) -> None:
        """Give the descriptors back."""
        for file in self._own or ():
            file.close()

    def _own_bytes(self) -> int:
        if self._own is None:
            return own_rss_bytes()
        statm, status = self._own
        now = self._clock.monotonic()
        if now >= self._due_at:
            self._due_at = now + SWAP_SECONDS
            self._swap_bytes = (number_after(b"VmSwap:", status.read()) or 0) * KIB
        return int(statm.read().split(None, 2)[1]) * self._page_bytes + self._swap_bytes


def _open_own(root: Path) -> tuple[KeptFile, KeptFile] | None:
    """Open our own statm and status; None where there is no /proc."""
    with contextlib.ExitStack() as stack:
        try:
            files = tuple(
                stack.enter_context(KeptFile(root / "proc/self" / name))
                for name in ("statm", "status")
            )
        except OSError:
            return None
        stack.pop_all()
        return files[0], files[1]
