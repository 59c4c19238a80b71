"""Rounds through all sessions in Redis, at a pace that leaves it, and the event loop, to others."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial

from service.clock import Clock
from service.hot import HotTier
from service.model import Conditions, SessionRef
from service.sealing import Sealer, may_shrink
from service.store import Census, Described, RedisStore, Shard
from service.writes import Cut, Removal

REST = 1
"""Times what a step took, waiting for Redis included, is left to others before the next."""

MOST_REST_SECONDS = 1.0

IsWanted = Callable[[], Awaitable[bool]]
"""Asked before each session whether the round is to go on."""

_Visit = Callable[[Described], Awaitable[bool]]


class Rounds:
    """Packs, or drops, what sessions have too much of; counts it. May raise Unavailable."""

    def __init__(
        self, census: Census, store: RedisStore, hot: HotTier, sealer: Sealer, clock: Clock
    ) -> None:
        """Find sessions by `census`; what `hot` holds of those that lose messages is dropped."""
        self._census = census
        self._store = store
        self._hot = hot
        self._sealer = sealer
        self._clock = clock
        self._rested_at = 0.0
        self.packed_sessions = self.dropped_sessions = self.dropped_messages = 0

    async def pack(self, is_wanted: IsWanted) -> None:
        """Pack all history that is not; a session that is costs its share of one look at many."""
        for primary in await self._census.primaries():
            await self._visit(primary, self._pack, is_wanted)

    async def drop(self, keep: int, until: float, is_wanted: IsWanted) -> None:
        """Drop the oldest messages beyond the newest `keep` of each session.

        Of each primary only until it is no fuller than `until`.
        """
        for primary in await self._census.primaries():
            if await self._is_above(primary, until):
                visit = partial(self._drop, primary, keep, until)
                await self._visit(primary, visit, is_wanted)

    async def _visit(self, primary: Shard, visit: _Visit, is_wanted: IsWanted) -> None:
        """Visit the sessions of a primary until a visit says, or others do, that it is enough."""
        self._rested_at = self._clock.monotonic()
        async with aclosing(self._census.pages(primary)) as pages:
            async for page in pages:
                for session in page:
                    if not (await is_wanted() and await visit(session)):
                        return
                await self._rest()

    async def _pack(self, session: Described) -> bool:
        if may_shrink(session.header):
            self.packed_sessions += await self._sealer.seal_stored(session.ref) > 0
            await self._rest()
        return True

    async def _drop(self, primary: Shard, keep: int, until: float, session: Described) -> bool:
        """Drop step by step, and no more than is needed: Redis is asked after each."""
        left, is_above = session.header.count, True
        self.dropped_sessions += left > keep
        while left > keep and is_above:
            left = await self._drop_some(session.ref, keep)
            await self._rest()
            is_above = await self._is_above(primary, until)
        return is_above

    async def _drop_some(self, ref: SessionRef, keep: int) -> int:
        """Drop as many as one script may, whoever has a lease; return how many messages are left.

        A lease keeps workers from each other. This is the owner's word, and those who hold one
        are those who write most.
        """
        removal = Removal(cut=Cut.EXCESS, number=keep)
        done = await self._store.remove(ref, removal, Conditions())
        self._hot.deleted(ref)
        if done is None:
            return 0
        self.dropped_messages += done.count
        if done.narrowed:
            await self._sealer.reseal(ref, done.session.etag.gen, done.narrowed)
        return done.session.message_count

    async def _is_above(self, primary: Shard, until: float) -> bool:
        fraction = await self._census.fraction(primary)
        return fraction is not None and fraction > until

    async def _rest(self) -> None:
        busy_seconds = self._clock.monotonic() - self._rested_at
        await asyncio.sleep(min(REST * busy_seconds, MOST_REST_SECONDS))
        self._rested_at = self._clock.monotonic()
