"""Packs and unpacks archives beside other work: memory is asked for, what is large has a thread."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from service import archive
from service.archive import StateCopy
from service.holds import Hold
from service.model import View

SMALL_BYTES = 65_536
"""State that is packed at once, and uncounted."""

COST = 4
"""Bytes of memory for each of a state: its values, their lines, all of them, the archive."""

T = TypeVar("T")


class Archiver:
    """Archives of one session each. Every method may raise Unavailable or TooLarge."""

    def __init__(self, begin_hold: Callable[[], Hold]) -> None:
        """Ask for memory by `begin_hold`."""
        self._begin_hold = begin_hold
        self._large = asyncio.Semaphore(1)

    async def pack(self, view: View) -> bytes:
        """Return the archive of the state in a view that has all of it."""
        values = {key: stored for key, stored in view.values.items() if stored}
        copy = StateCopy(session=view.session, at_ms=view.now_ms, values=values)
        size = sum(len(stored.value.data) for stored in values.values())
        hold = self._begin_hold()
        if size > SMALL_BYTES:
            hold.grow(COST * size)
        return await self._in_turn(size, partial(archive.pack, copy))

    async def unpack(self, packed: bytes, hold: Hold) -> StateCopy:
        """Return what is in an archive, for which `hold` speaks then. Raises Damaged."""
        size = archive.text_bytes(packed)
        hold.grow(COST * size)
        return await self._in_turn(size, partial(archive.unpack, packed))

    async def _in_turn(self, size: int, work: Callable[[], T]) -> T:
        """Do what takes long in a thread, one at a time: others need some."""
        if size <= SMALL_BYTES:
            return work()
        async with self._large:
            return await asyncio.to_thread(work)
