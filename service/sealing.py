"""Packs the history of sessions in Redis, behind their writes.

A tail of single messages that has grown long is sealed at once; a shorter one when its session has
been idle for a while, so that a slow chat is not packed anew with every message. No write waits for
that, and a chunk that comes too late is refused by its script: nothing is lost or doubled.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from service.chunks import Unsealed, read_span, resealed, sealed_count
from service.clock import Clock
from service.codec import Header, pack_number
from service.errors import ServiceError
from service.hot import Entry, HotTier
from service.model import SessionRef
from service.packing import pack_next
from service.store import RedisStore
from service.writes import Appended, Removed

LONG_TAIL = 32
"""Messages that are sealed at once."""

SHORT_TAIL = 4
"""Messages that are not worth a chunk of their own: it would hardly be shorter than they are."""

WORTH_BYTES = 1_024
"""Of a message that is worth a chunk of its own, or of a chunk that may grow."""

IDLE_SECONDS = 10.0
MOST_WAITING = 100_000
"""Sessions; of more the longest waiting are left as they are until they are written again."""

AT_ONCE = 8
PAUSE_SECONDS = 1.0
MOST_NARROWED = 1_000

T = TypeVar("T")

_log = logging.getLogger("ballast.sealing")


def may_shrink(header: Header) -> bool:
    """Whether sealing all of a session that is not may be worth a look at it."""
    return header.tail >= SHORT_TAIL or (header.tail > 0 and header.largest >= WORTH_BYTES)


class Sealer:
    """Keeps who was written last, and seals in the background."""

    def __init__(self, store: RedisStore, hot: HotTier, clock: Clock) -> None:
        """Seal what `store` holds; what `hot` holds of it need not be read."""
        self._store = store
        self._hot = hot
        self._clock = clock
        self._idle: OrderedDict[SessionRef, tuple[float, int]] = OrderedDict()
        self._long: dict[SessionRef, int] = {}
        self._in_vain: OrderedDict[SessionRef, int] = OrderedDict()
        self._narrowed: deque[tuple[SessionRef, str, bytes]] = deque(maxlen=MOST_NARROWED)
        self._has_work = asyncio.Event()
        self.failures = 0

    def appended(self, ref: SessionRef, done: Appended) -> None:
        """Hear of an append."""
        self._idle.pop(ref, None)
        if done.tail >= LONG_TAIL + self._in_vain.get(ref, 0):
            self._long[ref] = done.tail
            self._has_work.set()
        elif done.tail >= SHORT_TAIL:
            self._idle[ref] = (self._clock.monotonic() + IDLE_SECONDS, done.tail)
            _bound(self._idle)

    def removed(self, ref: SessionRef, done: Removed) -> None:
        """Hear of a removal: the bytes of what was deleted have to leave Redis too."""
        if done.narrowed:
            self._narrowed.append((ref, done.session.etag.gen, done.narrowed))
            self._has_work.set()

    async def run(self) -> None:
        """Seal what is due, again and again."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self._has_work.wait()
            await self.seal_due()

    async def seal_due(self) -> None:
        """Seal all that is due now."""
        self._has_work.clear()
        due = [*self._long.items(), *self._those_idle()]
        self._long.clear()
        await self._seal_anew()
        for start in range(0, len(due), AT_ONCE):
            await asyncio.gather(*(self._seal(*each) for each in due[start : start + AT_ONCE]))

    async def _seal_anew(self) -> None:
        """Make chunks anew without what was deleted; what Redis does not take now waits."""
        with suppress(ServiceError):
            while self._narrowed:
                await self.reseal(*self._narrowed[0])
                self._narrowed.popleft()

    async def reseal(self, ref: SessionRef, gen: str, chunk: bytes) -> None:
        """Make a chunk anew without the bytes of what it does not hold any more."""
        await self._survive(self._reseal(ref, gen, chunk))

    async def _reseal(self, ref: SessionRef, gen: str, chunk: bytes) -> None:
        await self._store.seal(ref, gen, resealed(chunk))

    async def seal_stored(self, ref: SessionRef) -> int:
        """Seal all that Redis has behind the last chunk, however little.

        Returns how many messages were. Raises Unavailable.
        """
        done = await self._survive(self._seal_by_parts(ref))
        return done[0] if done else 0

    def _those_idle(self) -> list[tuple[SessionRef, int]]:
        now, idle = self._clock.monotonic(), []
        while self._idle and next(iter(self._idle.values()))[0] <= now:
            ref, (_, tail) = self._idle.popitem(last=False)
            idle.append((ref, tail))
        return idle

    async def _seal(self, ref: SessionRef, tail: int) -> None:
        """Seal the tail of a session; the next write of it tells again if Redis is away."""
        with suppress(ServiceError):
            await self._survive(self._seal_tail(ref, tail))

    async def _survive(self, work: Awaitable[T]) -> T | None:
        """Go on with others: a session that cannot be packed must not end the service."""
        try:
            return await work
        except ServiceError:
            raise
        except Exception:  # noqa: BLE001 # counted, and shown by /health
            self.failures += 1
            _log.exception("A session could not be packed; it stays as it is.")
            return None

    async def _seal_tail(self, ref: SessionRef, tail: int) -> None:
        """Seal a tail as memory holds it, or else as Redis does."""
        self._in_vain.pop(ref, None)
        held = self._hot.peek(ref)
        if held is not None and held.log.tail_count >= tail:
            before, elements = held.log.unsealed(held.first_seq or 0)
            left = await self._seal_run(ref, held.session.etag.gen, before, elements)
        else:
            _, left = await self._seal_by_parts(ref)
        if left is not None and left >= LONG_TAIL:
            self._in_vain[ref] = left
            _bound(self._in_vain)

    async def _seal_by_parts(self, ref: SessionRef) -> tuple[int, int | None]:
        """Seal from the oldest on; return how many messages were, and how many stay behind."""
        sealed = seq = 0
        while (part := await self._store.unsealed(ref, seq)) is not None:
            before, singles = _split(part.elements)
            left = await self._seal_run(ref, part.gen, before, singles)
            if left is None:
                break
            sealed += len(singles) - left
            if part.last_seq >= part.newest_seq:
                return sealed, left
            seq = _next_seq(part, singles, left)
        return sealed, None

    async def _seal_run(
        self, ref: SessionRef, gen: str, before: bytes | None, elements: Sequence[bytes]
    ) -> int | None:
        """Seal chunk by chunk until nothing would get shorter.

        Returns how many are left; None if they are not there any more.
        """
        while (sealing := pack_next(before, elements)) is not None:
            if not await self._store.seal(ref, gen, sealing):
                self._hot.deleted(ref)  # somebody else was faster: it is not what is there
                return None
            self._hot.reshape(ref, gen, partial(Entry.sealed_by, sealing=sealing))
            before = sealing.chunk
            elements = [each for each in elements if each >= pack_number(sealing.last_seq + 1)]
        return len(elements)


def _split(elements: Sequence[bytes]) -> tuple[bytes | None, list[bytes]]:
    """Return the last chunk and what is behind it."""
    behind = sealed_count(elements)
    return elements[behind - 1] if behind else None, list(elements[behind:])


def _next_seq(part: Unsealed, singles: Sequence[bytes], left: int) -> int:
    """Return where the next part begins: what is left may fit into a chunk with what follows."""
    if left == len(singles):
        return part.last_seq + 1  # nothing of it gets shorter
    return read_span(singles[-left]).start if left else part.last_seq


def _bound(waiting: OrderedDict[SessionRef, Any]) -> None:
    if len(waiting) > MOST_WAITING:
        waiting.popitem(last=False)
