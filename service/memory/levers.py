"""Levers: what can be pulled to bring memory back. Each says honestly what it brought.

Their order, as the app gives them: first what empties, then what gives the emptied pages back.
"""

import asyncio
import ctypes
import gc
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from service.clock import Clock
from service.memory.libc import libc
from service.memory.listeners import Listeners
from service.vitals import Tier

YOUNG, FULL = 0, 2
SLICE_SECONDS = 0.001
STEP_BYTES = 65_536
"""Evicted between two looks at the clock: even in sessions of 500 bytes that is 0.3 ms."""
PORTION_BYTES = 32 * 1_048_576
"""Evicted between two trims: they hold the allocator's lock, 0.1 ms for each MB given back."""

OFFLOAD_SECONDS, FLUSH_SECONDS = 0.5, 4.0
"""For which others wait until Redis has the journal, at most; the latter in an emergency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relief:
    """What is asked for: the tier, and the bytes in use above the mark at which it is left."""

    tier: Tier
    excess_bytes: int
    requested: bool = False


class Lever(Protocol):
    """Something that can free memory."""

    @property
    def name(self) -> str:
        """The word for it in /health."""
        ...

    @property
    def tier(self) -> Tier:
        """The lowest tier that pulls it."""
        ...

    def available(self) -> bool:
        """Tell whether it can work in this process at all."""
        ...

    def estimate(self, relief: Relief) -> int:
        """Bytes that it would account as freed, as far as that is known before; 0 = it is not."""
        ...

    async def run(self, relief: Relief) -> int:
        """Pull it; returns the bytes that it accounts as freed."""
        ...


class Evict:
    """Drops from the hot tier what Redis has: what is asked for; an emergency leaves the floor."""

    name = "evict"
    tier = Tier.STANDARD

    def __init__(
        self,
        drop: Callable[[int], int],
        held_bytes: Callable[[], int],
        *,
        floor_bytes: int,
        give_back: Callable[[], Awaitable[None]],
        clock: Clock,
    ) -> None:
        """Take `drop`, which frees at least as many bytes as it is given while there are any.

        `give_back` returns to the system what was let go; the last portion is left to others.
        """
        self._drop = drop
        self._held_bytes = held_bytes
        self._floor_bytes = floor_bytes
        self._give_back = give_back
        self._clock = clock

    def available(self) -> bool:
        """Always."""
        return True

    def estimate(self, relief: Relief) -> int:
        """Bytes of payload that are wanted and there."""
        held_bytes = self._held_bytes()
        if relief.tier is Tier.EMERGENCY:
            return max(0, held_bytes - self._floor_bytes)
        return min(held_bytes, relief.excess_bytes)

    def run_at_once(self, relief: Relief) -> int:
        """Evict without a pause: for whom the event loop is no help."""
        return self._drop(self.estimate(relief))

    async def run(self, relief: Relief) -> int:
        """Evict in slices of 1 ms, between which others have their turn."""
        wanted, freed = self.estimate(relief), 0
        while freed < wanted and self._held_bytes():
            if freed:
                await self._give_back()
            freed += await self._evict_portion(min(PORTION_BYTES, wanted - freed))
        return freed

    async def _evict_portion(self, wanted: int) -> int:
        freed = 0
        while freed < wanted and self._held_bytes():
            freed += self._evict_slice(wanted - freed)
            await asyncio.sleep(0)
        return freed

    def _evict_slice(self, wanted: int) -> int:
        freed, until = 0, self._clock.monotonic() + SLICE_SECONDS
        while freed < wanted and self._held_bytes():
            freed += self._drop(min(STEP_BYTES, wanted - freed))
            if self._clock.monotonic() >= until:
                break
        return freed


class Offload:
    """Writes to Redis what only the journal has; an emergency waits longer for it."""

    name = "offload"
    tier = Tier.STANDARD

    def __init__(
        self, flush: Callable[[float], Awaitable[int]], held_bytes: Callable[[], int]
    ) -> None:
        """Take `flush`, which ends after some seconds and returns the bytes that it has freed."""
        self._flush = flush
        self._held_bytes = held_bytes

    def available(self) -> bool:
        """Always."""
        return True

    def estimate(self, relief: Relief) -> int:  # noqa: ARG002 # all of it, whatever is asked for
        """Bytes that wait, as far as Redis takes them."""
        return self._held_bytes()

    async def run(self, relief: Relief) -> int:
        """Write them; others have their turn meanwhile."""
        is_emergency = relief.tier is Tier.EMERGENCY
        return await self._flush(FLUSH_SECONDS if is_emergency else OFFLOAD_SECONDS)


class Shorten:
    """Cuts the windows of hot chats to what is packed; Redis has the rest."""

    name = "shorten"
    tier = Tier.EMERGENCY

    def __init__(self, shorten: Callable[[], Iterator[int]]) -> None:
        """Take what frees bytes slice by slice."""
        self._shorten = shorten

    def available(self) -> bool:
        """Always."""
        return True

    def estimate(self, relief: Relief) -> int:  # noqa: ARG002 # as every lever has it
        """Nobody knows before."""
        return 0

    async def run(self, relief: Relief) -> int:  # noqa: ARG002 # as every lever has it
        """Shorten them all; others have their turn between two slices."""
        freed_bytes = 0
        for slice_bytes in self._shorten():
            freed_bytes += slice_bytes
            await asyncio.sleep(0)
        return freed_bytes


class CloseListeners:
    """Hangs up on those who listen for long or read slowly; what waited for them is freed."""

    name = "close_listeners"
    tier = Tier.EMERGENCY

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners

    def available(self) -> bool:
        """Always."""
        return True

    def estimate(self, relief: Relief) -> int:  # noqa: ARG002 # as every lever has it
        """Bytes that wait, at most: who goes on taking stays."""
        return self._listeners.queued_bytes

    async def run(self, relief: Relief) -> int:  # noqa: ARG002 # as every lever has it
        """Close them; they come back when they like."""
        return self._listeners.close_idle()


class Collect:
    """Python's cyclic collector: the young generation, and all of them in an emergency.

    It stays on the event loop: the GIL is held throughout, so a thread would not help.
    """

    name = "collect"
    tier = Tier.STANDARD

    def __init__(self, used_bytes: Callable[[], int]) -> None:
        self._used_bytes = used_bytes

    def available(self) -> bool:
        """Always."""
        return True

    def estimate(self, relief: Relief) -> int:  # noqa: ARG002 # as every lever has it
        """Nobody knows what is garbage before it was looked for."""
        return 0

    async def run(self, relief: Relief) -> int:
        """Collect; returns the bytes by which the use fell."""
        before_bytes = self._used_bytes()
        collect(relief)
        return max(0, before_bytes - self._used_bytes())


class MallocTrim:
    """glibc's malloc_trim(3): gives free pages back to the OS.

    In a thread, because ctypes drops the GIL meanwhile. There is no such call in musl and on macOS.
    """

    name = "malloc_trim"
    tier = Tier.STANDARD

    def __init__(self, used_bytes: Callable[[], int], library: object | None = None) -> None:
        self._used_bytes = used_bytes
        self._library = library or libc()

    def available(self) -> bool:
        """Only with glibc."""
        return hasattr(self._library, "malloc_trim")

    def estimate(self, relief: Relief) -> int:  # noqa: ARG002 # a trim knows no tiers
        """Nobody knows which of the free bytes are whole pages."""
        return 0

    async def run(self, relief: Relief) -> int:  # noqa: ARG002 # a trim knows no tiers
        """Trim; returns the bytes by which the use fell."""
        before_bytes = self._used_bytes()
        await self.give_back()
        return max(0, before_bytes - self._used_bytes())

    async def give_back(self) -> None:
        """Trim, where that can be done."""
        if self.available():
            await asyncio.to_thread(getattr(self._library, self.name), ctypes.c_size_t(0))


def collect(relief: Relief) -> None:
    """Run the collector as far as the tier asks for."""
    gc.collect(FULL if relief.tier is Tier.EMERGENCY else YOUNG)


def freeze_heap() -> None:
    """Take all that boot has made out of the collector's sight: a full run then costs nearly 0."""
    gc.collect()
    gc.freeze()
