"""Levers: what can be pulled to bring memory back. Each says honestly what it brought."""

import asyncio
import ctypes
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from service.memory.libc import libc
from service.vitals import Tier

YOUNG, FULL = 0, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Relief:
    """What is asked for: the tier, and the bytes in use above the mark at which it is left."""

    tier: Tier
    excess_bytes: int


class Lever(Protocol):
    """Something that can free memory."""

    @property
    def name(self) -> str:
        """The word for it in /health."""
        ...

    def available(self) -> bool:
        """Tell whether it can work in this process at all."""
        ...

    async def run(self, relief: Relief) -> int:
        """Pull it; returns the bytes that it accounts as freed."""
        ...


class Evict:
    """Drops from the hot tier what Redis has; the app gives the function, and it does the counting.

    It frees at most what `Relief` asks for, in slices of about 1 ms, and returns payload bytes.
    """

    name = "evict"

    def __init__(self, evict: Callable[[Relief], Awaitable[int]]) -> None:
        self._evict = evict

    def available(self) -> bool:
        """Always."""
        return True

    async def run(self, relief: Relief) -> int:
        """Evict; returns the bytes of payload that were let go."""
        return await self._evict(relief)


class Collect:
    """Python's cyclic collector: the young generation, and all of them in an emergency.

    It stays on the event loop: the GIL is held throughout, so a thread would not help.
    """

    name = "collect"

    def __init__(self, used_bytes: Callable[[], int]) -> None:
        self._used_bytes = used_bytes

    def available(self) -> bool:
        """Always."""
        return True

    async def run(self, relief: Relief) -> int:
        """Collect; returns the bytes by which the use fell."""
        before_bytes = self._used_bytes()
        gc.collect(FULL if relief.tier is Tier.EMERGENCY else YOUNG)
        return max(0, before_bytes - self._used_bytes())


class MallocTrim:
    """glibc's malloc_trim(3): gives free pages back to the OS in 5 to 20 ms.

    In a thread, because ctypes drops the GIL meanwhile. There is no such call in musl and on macOS.
    """

    name = "malloc_trim"

    def __init__(self, used_bytes: Callable[[], int], library: object | None = None) -> None:
        self._used_bytes = used_bytes
        self._library = library or libc()

    def available(self) -> bool:
        """Only with glibc."""
        return hasattr(self._library, "malloc_trim")

    async def run(self, relief: Relief) -> int:  # noqa: ARG002 # a trim knows no tiers
        """Trim; returns the bytes by which the use fell."""
        before_bytes = self._used_bytes()
        await asyncio.to_thread(getattr(self._library, self.name), ctypes.c_size_t(0))
        return max(0, before_bytes - self._used_bytes())


def freeze_heap() -> None:
    """Take all that boot has made out of the collector's sight: a full run then costs nearly 0."""
    gc.collect()
    gc.freeze()
