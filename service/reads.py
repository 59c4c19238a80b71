"""Read-through: answers from memory what is known there to be true, else what Redis says.

What is held is verified as long as Redis has told of no change of it, by whomever. Else a read asks
Redis, which says "the same" when memory holds what is asked. The clock is read before Redis is
asked: an entry is rather too old than outliving its session.
"""

import asyncio
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from service.clock import Clock
from service.errors import NotFound, Unavailable
from service.hot import MOST_LINES, Entry, Fill, HotTier
from service.model import Freshness, Reading, SessionRef, Touch, View
from service.store import RedisStore

RENEWAL_MS = 1_000
"""Reads of a session with touch=access renew it at most so often (read.lua)."""


@dataclass(frozen=True, slots=True)
class _Flight:
    """A cold read that is under way and may be shared."""

    task: asyncio.Task[View | None]
    fill: Fill

    @property
    def is_over(self) -> bool:
        """Whether a read that begins now could miss what was changed since."""
        return self.task.done() or self.fill.is_spoiled or self.fill.is_unsure


class ReadThrough:
    """Reads of sessions over both tiers. May raise Unavailable."""

    def __init__(self, store: RedisStore, hot: HotTier, clock: Clock) -> None:
        """Join the tiers."""
        self._store = store
        self._hot = hot
        self._clock = clock
        self._flights: dict[tuple[SessionRef, Reading], _Flight] = {}

    async def read(self, ref: SessionRef, reading: Reading, freshness: Freshness) -> View | None:
        """Read a session; None if Redis says that there is none.

        Raises NotFound if it says so too, and that there is a backup of it.
        """
        if freshness.no_cache:
            return await self._fetch(ref, reading, self._hot.begin_fill(ref))
        try:
            return await self._read_through(ref, reading)
        except Unavailable:
            view = self._stale(ref, reading, freshness.stale_if_error_seconds)
            if view is None:
                raise
            return view

    async def _read_through(self, ref: SessionRef, reading: Reading) -> View | None:
        held = self._hot.get(ref)
        if held is not None and self._may_trust(ref, held):
            view = self._held_view(ref, held, reading, self._clock.monotonic())
            if view is not None:
                self._hot.count(is_hit=True)
                return view
        # As it was when Redis last spoke of it: which keys have expired since is for its clock.
        answer = self._held_view(ref, held, reading, held.verified_at) if held else None
        if held is None or answer is None:
            self._hot.count(is_hit=False)
            return await self._shared_fetch(ref, reading)
        fill = self._hot.begin_fill(ref)
        view = await self._fetch(ref, reading, fill, known=str(held.session.etag)[1:-1])
        self._hot.count(is_hit=view is not None and view.is_same)
        if view is None or not view.is_same:
            return view
        answer = replace(answer, session=view.session, now_ms=view.now_ms)
        return answer.without_expired(reading.state)

    def _may_trust(self, ref: SessionRef, held: Entry) -> bool:
        """Whether an entry may be answered without a word of Redis.

        Not if the read has something to do there, or if only Redis's clock knows what is left.
        """
        if not self._hot.is_verified(ref):
            return False
        session, redis_ms = held.session, held.redis_ms(self._clock.monotonic())
        ends = session.expires_at_ms
        has_ended = ends is not None and ends <= redis_ms
        renews = session.touch is Touch.ACCESS and redis_ms >= session.renewed_at_ms + RENEWAL_MS
        return not (has_ended or renews or session.has_expiring_keys)

    def _held_view(self, ref: SessionRef, held: Entry, reading: Reading, now: float) -> View | None:
        """Answer from an entry, and keep open what that has opened."""
        view = held.view(reading, now)
        lines = view.page.lines if view and view.page else held.log.lines
        if lines is not held.log.lines and len(lines) <= MOST_LINES:
            self._hot.reshape(ref, held.session.etag.gen, partial(Entry.opened, lines=lines))
        return view

    async def _shared_fetch(self, ref: SessionRef, reading: Reading) -> View | None:
        """Fetch, or wait for an equal fetch, unless something was changed after that one began.

        The fetch is a task of its own: a caller that is cancelled must not fail the others.
        """
        flight = self._flights.get((ref, reading))
        if flight is None or flight.is_over:
            fill = self._hot.begin_fill(ref)
            task = asyncio.create_task(self._fetch(ref, reading, fill))
            flight = self._flights[ref, reading] = _Flight(task, fill)
            task.add_done_callback(lambda _: self._land((ref, reading), flight))
        return await asyncio.shield(flight.task)

    def _land(self, key: tuple[SessionRef, Reading], flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.task.cancelled():
            flight.task.exception()  # seen, even if every caller has gone

    async def _fetch(
        self, ref: SessionRef, reading: Reading, fill: Fill, known: str = ""
    ) -> View | None:
        """Ask Redis and keep what it says; ends the fill."""
        now = self._clock.monotonic()
        try:
            view = await self._store.read(ref, reading, known)
            self._hot.fill(ref, self._known(ref, reading, view, now), fill)
            self._hot.verify(ref, fill)
        except NotFound:
            self._hot.fill(ref, None, fill)
            raise
        finally:
            self._hot.end_fill(ref, fill)
        return view

    def _known(
        self, ref: SessionRef, reading: Reading, view: View | None, now: float
    ) -> Entry | None:
        """Return all that is known of a session, with what is held of the same revision."""
        if view is None:
            return None
        held = self._hot.get(ref)
        entry = Entry.of(view.session, view.now_ms, now)
        if held is not None and held.session.etag == view.session.etag:
            entry = held.verified(view.session, view.now_ms, now)
        return entry if view.is_same else entry.filled(reading, view)

    def _stale(self, ref: SessionRef, reading: Reading, most_seconds: float | None) -> View | None:
        """Answer from memory during an outage, if the reader accepts the age of what is held."""
        held, now = self._hot.get(ref), self._clock.monotonic()
        if most_seconds is None or held is None or held.has_expired(now):
            return None
        age = now - held.verified_at
        view = held.view(reading, now) if age <= most_seconds else None
        return None if view is None else replace(view, age_seconds=age)
