"""The use cases: read-through and write-through over the durable and the hot tier.

A write is acknowledged when Redis has applied it; the hot tier follows, never leads. A read always
asks Redis, which answers "the same" when the hot tier holds what is asked (no invalidation channel
tells of other processes' writes yet, and old and new dyno overlap at every deploy).

The clock is read before Redis is asked: an entry is rather too old than outliving its session.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from service.clock import Clock
from service.errors import Unavailable
from service.hot import Entry, Fill, HotTier
from service.model import (
    Append,
    Appended,
    Conditions,
    Configured,
    Reading,
    Session,
    SessionRef,
    SettingsChange,
    StateWrite,
    View,
    Written,
)
from service.store import RedisStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """What a reader accepts (RFC 9111, 5.2.1; RFC 5861, 4)."""

    no_cache: bool = False
    stale_if_error_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Flight:
    """A cold read that is under way and may be shared."""

    task: asyncio.Task[View | None]
    fill: Fill


class Sessions:
    """Sessions of all namespaces. Every method may raise Unavailable or StoreFull."""

    def __init__(self, store: RedisStore, hot: HotTier, clock: Clock) -> None:
        """Join the tiers."""
        self._store = store
        self._hot = hot
        self._clock = clock
        self._flights: dict[tuple[SessionRef, Reading], _Flight] = {}

    async def read(
        self, ref: SessionRef, reading: Reading, freshness: Freshness = Freshness()
    ) -> View | None:
        """Read a session; None if Redis says that there is none."""
        if freshness.no_cache:
            return await self._fetch(ref, reading, self._hot.begin_fill(ref))
        try:
            return await self._read_through(ref, reading)
        except Unavailable:
            view = self._stale(ref, reading, freshness.stale_if_error_seconds)
            if view is None:
                raise
            return view

    async def configure(
        self, ref: SessionRef, change: SettingsChange, conditions: Conditions, *, may_create: bool
    ) -> Configured | None:
        """Create a session or change its settings; None if it is absent and may not be made."""
        now = self._clock.monotonic()
        with self._hot.watch(ref) as fill:
            done = await self._store.configure(ref, change, conditions, may_create=may_create)
            if done is None:
                self._hot.deleted(ref)
            elif done.changed:
                self._follow(ref, done.session, fill, _renewal(done.session, done.now_ms, now))
            else:
                self._confirm(ref, done.session, done.now_ms, now)
        return done

    async def delete(self, ref: SessionRef, conditions: Conditions) -> None:
        """Remove a session with everything that belongs to it."""
        await self._store.delete(ref, conditions)
        self._hot.deleted(ref)

    async def append(self, ref: SessionRef, append: Append, conditions: Conditions) -> Appended:
        """Append messages; creates the session."""
        now = self._clock.monotonic()
        with self._hot.watch(ref) as fill:
            done = await self._store.append(ref, append, conditions)
            if done.changed:
                self._follow(ref, done.session, fill, lambda e: e.appended(append, done, now))
            else:
                self._confirm(ref, done.session, done.now_ms, now)
        return done

    async def write_state(
        self, ref: SessionRef, write: StateWrite, conditions: Conditions
    ) -> Written:
        """Set, delete, then get state values; creates the session if there is one to set."""
        now = self._clock.monotonic()
        with self._hot.watch(ref) as fill:
            done = await self._store.write_state(ref, write, conditions)
            if done.session is None:
                self._hot.deleted(ref)
            elif done.changed:
                self._follow(ref, done.session, fill, lambda e: e.state_written(write, done, now))
            else:
                self._confirm(ref, done.session, done.now_ms, now)
        return done

    def _confirm(self, ref: SessionRef, session: Session, redis_now_ms: int, now: float) -> None:
        """Take over what a write that changed nothing has renewed."""
        self._hot.confirmed(ref, session.etag, _renewal(session, redis_now_ms, now))

    def _follow(
        self, ref: SessionRef, session: Session, fill: Fill, change: Callable[[Entry], Entry]
    ) -> None:
        """Take a write over into the hot tier; a session that it has made is known entirely."""
        if session.etag.rev > 1:
            self._hot.wrote(ref, session.etag, change)
            return
        empty = replace(session, message_count=0, state_key_count=0)
        # Every change brings Redis's time of its own.
        self._hot.created(ref, change(Entry.of(empty, 0, 0.0)), fill)

    async def _read_through(self, ref: SessionRef, reading: Reading) -> View | None:
        held = self._hot.get(ref)
        answer = held.view(reading, self._clock.monotonic()) if held else None
        if held is None or answer is None:
            self._hot.count(is_hit=False)
            return await self._shared_fetch(ref, reading)
        fill = self._hot.begin_fill(ref)
        view = await self._fetch(ref, reading, fill, known=str(held.session.etag)[1:-1])
        self._hot.count(is_hit=view is not None and view.is_same)
        if view is None or not view.is_same:
            return view
        return replace(answer, session=view.session, now_ms=view.now_ms)

    async def _shared_fetch(self, ref: SessionRef, reading: Reading) -> View | None:
        """Fetch, or wait for an equal fetch, unless a write came in after that one began.

        The fetch is a task of its own: a caller that is cancelled must not fail the others.
        """
        flight = self._flights.get((ref, reading))
        if flight is None or flight.fill.is_spoiled:
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


def _renewal(session: Session, redis_now_ms: int, now: float) -> Callable[[Entry], Entry]:
    return lambda entry: entry.verified(session, redis_now_ms, now)
