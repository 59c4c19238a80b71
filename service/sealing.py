"""Packs the history of sessions in Redis, behind their writes.

A tail of single messages that has grown long is sealed at once; a shorter one when its session has
been idle for a while, so that a slow chat is not packed anew with every message. No write waits for
that, and a chunk that comes too late is refused by its script: nothing is lost or doubled.
"""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from functools import partial

from service.chunks import resealed
from service.clock import Clock
from service.errors import ServiceError
from service.hot import Entry, HotTier, PackedLog
from service.model import ETag, Reading, SessionRef, Window
from service.store import RedisStore
from service.writes import Appended, Removed

LONG_TAIL = 32
"""Messages that are sealed at once."""

SHORT_TAIL = 4
"""Messages that are not worth a chunk of their own: it would hardly be shorter than they are."""

IDLE_SECONDS = 10.0
MOST_WAITING = 100_000
"""Sessions; of more the longest waiting are left as they are until they are written again."""

AT_ONCE = 8
PAUSE_SECONDS = 1.0
_TAIL = Reading(window=Window(limit=1_000, max_bytes=262_144))


class Sealer:
    """Keeps who was written last, and seals in the background."""

    def __init__(self, store: RedisStore, hot: HotTier, clock: Clock) -> None:
        """Seal what `store` holds; what `hot` holds of it need not be read."""
        self._store = store
        self._hot = hot
        self._clock = clock
        self._idle: OrderedDict[SessionRef, tuple[float, int]] = OrderedDict()
        self._long: dict[SessionRef, int] = {}
        self._narrowed: list[tuple[SessionRef, str, bytes]] = []
        self._has_work = asyncio.Event()

    def appended(self, ref: SessionRef, done: Appended) -> None:
        """Hear of an append."""
        self._idle.pop(ref, None)
        if done.tail >= LONG_TAIL:
            self._long[ref] = done.tail
            self._has_work.set()
        elif done.tail >= SHORT_TAIL:
            self._idle[ref] = (self._clock.monotonic() + IDLE_SECONDS, done.tail)
            if len(self._idle) > MOST_WAITING:
                self._idle.popitem(last=False)

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
        narrowed, self._narrowed = self._narrowed, []
        due = [*self._long.items(), *self._those_idle()]
        self._long.clear()
        for ref, gen, chunk in narrowed:
            with suppress(ServiceError):
                await self._store.seal(ref, gen, resealed(chunk))
        for start in range(0, len(due), AT_ONCE):
            await asyncio.gather(*(self._seal(*each) for each in due[start : start + AT_ONCE]))

    def _those_idle(self) -> list[tuple[SessionRef, int]]:
        now, idle = self._clock.monotonic(), []
        while self._idle and next(iter(self._idle.values()))[0] <= now:
            ref, (_, tail) = self._idle.popitem(last=False)
            idle.append((ref, tail))
        return idle

    async def _seal(self, ref: SessionRef, tail: int) -> None:
        """Seal the tail of a session chunk by chunk, until nothing of it would get shorter."""
        with suppress(ServiceError):  # Redis is away: the next write of the session tells again
            known = await self._known(ref, tail)
            if known is None:
                return
            etag, log = known
            while (sealing := log.sealing()) is not None:
                if not await self._store.seal(ref, etag.gen, sealing):
                    self._hot.deleted(ref)  # somebody else was faster: it is not what is there
                    return
                self._hot.reshape(ref, etag, partial(Entry.sealed_by, sealing=sealing))
                log = log.sealed_by(sealing)

    async def _known(self, ref: SessionRef, tail: int) -> tuple[ETag, PackedLog] | None:
        """Return the log of a session with all of its tail, from memory or else from Redis."""
        held = self._hot.peek(ref)
        if held is not None and held.log.tail_count >= tail:
            return held.session.etag, held.log
        view = await self._store.read(ref, _TAIL)
        return (view.session.etag, PackedLog.of(view.elements)) if view else None
