"""The use cases: read-through and write-through over the durable and the hot tier.

A write is acknowledged when Redis has applied it; the hot tier follows, never leads. A read is
answered from memory as long as what is held is verified: Redis tells of every change of a key, by
whomever. Else it asks Redis, which says "the same" when the hot tier holds what is asked.

The clock is read before Redis is asked: an entry is rather too old than outliving its session.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from msgspec.structs import replace

from service.clock import Clock
from service.errors import PreconditionFailed, TooLarge, Unavailable, Unprocessable
from service.hot import Entry, Fill, HotTier
from service.merging import merged_values
from service.model import (
    Conditions,
    Freshness,
    Limits,
    Reading,
    Session,
    SessionRef,
    StateKey,
    StatePart,
    StoredValue,
    Touch,
    View,
)
from service.sealing import Sealer
from service.store import RedisStore
from service.turns import Turns
from service.writes import (
    Append,
    Appended,
    Configured,
    Done,
    Moved,
    Removal,
    Removed,
    SettingsChange,
    StateDeleted,
    StateWrite,
    Written,
)

MERGE_TRIES = 16

RENEWAL_MS = 1_000
"""Reads of a session with touch=access renew it at most so often (read.lua)."""

ANY_FRESHNESS = Freshness()

D = TypeVar("D", bound=Done)
Follow = Callable[[Entry, D, float], Entry]
"""What a write makes of an entry; the last is the moment before Redis was asked."""


@dataclass(frozen=True, slots=True)
class _Flight:
    """A cold read that is under way and may be shared."""

    task: asyncio.Task[View | None]
    fill: Fill


class Sessions:
    """Sessions of all namespaces. Every method may raise Unavailable or StoreFull."""

    def __init__(
        self, store: RedisStore, hot: HotTier, sealer: Sealer, clock: Clock, limits: Limits
    ) -> None:
        """Join the tiers; `sealer` hears of what was appended and removed."""
        self._store = store
        self._hot = hot
        self._sealer = sealer
        self._clock = clock
        self._limits = limits
        self._flights: dict[tuple[SessionRef, Reading], _Flight] = {}
        self._merging = Turns()

    async def read(
        self, ref: SessionRef, reading: Reading, freshness: Freshness = ANY_FRESHNESS
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
        call = self._store.configure(ref, change, conditions, may_create=may_create)
        return await self._write(ref, call, _renewed)

    async def delete(self, ref: SessionRef, conditions: Conditions) -> None:
        """Remove a session with everything that belongs to it."""
        await self._store.delete(ref, conditions)
        self._hot.deleted(ref)

    async def append(self, ref: SessionRef, append: Append, conditions: Conditions) -> Appended:
        """Append messages; creates the session."""
        call = self._store.append(ref, append, conditions)
        done = await self._write(ref, call, lambda e, done, now: e.appended(append, done, now))
        assert done is not None  # an append creates the session
        self._sealer.appended(ref, done)
        return done

    async def replace(self, ref: SessionRef, append: Append, conditions: Conditions) -> Appended:
        """Put messages in the place of all that are there; creates the session."""
        call = self._store.append(ref, append, conditions, replaces=True)
        done = await self._write(ref, call, lambda e, done, now: e.replaced(append, done, now))
        assert done is not None  # the same
        self._sealer.appended(ref, done)
        return done

    async def remove(
        self, ref: SessionRef, removal: Removal, conditions: Conditions
    ) -> Removed | None:
        """Remove messages; None if there is no session."""
        call = self._store.remove(ref, removal, conditions)
        done = await self._write(ref, call, lambda e, done, now: e.removed(done, now))
        if done is not None:
            self._sealer.removed(ref, done)
        return done

    async def write_state(
        self, ref: SessionRef, write: StateWrite, conditions: Conditions
    ) -> Written | None:
        """Set, merge, delete, then get state values; None if there is no session and none is made.

        Raises Unprocessable for a value that cannot be merged into.
        """
        if not write.merges:
            return await self._write_merged(ref, write, conditions, {})
        # Who merges into a value that another merges into would have to do it again.
        async with self._merging.of(ref):
            return await self._merge(ref, write, conditions)

    async def delete_state(
        self, ref: SessionRef, prefix: str, conditions: Conditions
    ) -> StateDeleted | None:
        """Delete all state keys with a prefix; None if there is no session."""
        call = self._store.delete_state(ref, prefix, conditions)
        return await self._write(ref, call, lambda e, done, now: e.state_deleted(prefix, done, now))

    async def copy(
        self, source: SessionRef, target: SessionRef, conditions: Conditions
    ) -> Done | None:
        """Make `target` of all that `source` holds; None if there is no source.

        Conditions mean the source. Raises Conflict if the target exists.
        """
        snapshot = await self._store.snapshot(source)
        if snapshot is None:
            return None
        etag = snapshot.session.etag
        if not (conditions.has_match(etag) and conditions.has_no_match(etag)):
            words = "The condition does not hold for what is to be copied."
            raise PreconditionFailed(words, etag=str(etag))
        done = await self._store.create(target, snapshot)
        self._hot.deleted(target)  # what a read is bringing may be from before
        return done

    async def _merge(
        self, ref: SessionRef, write: StateWrite, conditions: Conditions
    ) -> Written | None:
        """Merge into what memory holds, and again into what Redis says that there is instead."""
        merged = await self._guessed(ref, write)
        for _ in range(MERGE_TRIES):
            try:
                return await self._write_merged(ref, write, conditions, merged)
            except Moved as moved:
                merged = await merged_values(write.merges, moved.values, self._limits)
        raise Unavailable("Others change these values faster than they can be merged: try again.")

    async def _guessed(self, ref: SessionRef, write: StateWrite) -> dict[StateKey, StoredValue]:
        """Merge into what memory holds; it may be old, so it can make a call cheap, not fail."""
        bases = self._held_values(ref, tuple(write.merges))
        try:
            return await merged_values(write.merges, bases, self._limits)
        except (Unprocessable, TooLarge):
            return await merged_values(write.merges, {}, self._limits)

    async def _write_merged(
        self,
        ref: SessionRef,
        write: StateWrite,
        conditions: Conditions,
        merged: Mapping[StateKey, StoredValue],
    ) -> Written | None:
        call = self._store.write_state(ref, write, conditions, merged)
        return await self._write(
            ref, call, lambda e, done, now: e.state_written(write, merged, done, now)
        )

    def _held_values(
        self, ref: SessionRef, keys: tuple[StateKey, ...]
    ) -> Mapping[StateKey, StoredValue | None]:
        """Return what memory holds of some values: a guess, which Redis checks."""
        held = self._hot.get(ref)
        reading = Reading(state=StatePart.SOME, keys=keys)
        view = held.view(reading, self._clock.monotonic()) if held else None
        return view.values if view else {}

    async def _write(
        self, ref: SessionRef, call: Awaitable[D | None], follow: Follow[D]
    ) -> D | None:
        """Write to Redis, then to memory; None if there is no session and none was made."""
        now = self._clock.monotonic()
        fill = self._hot.begin_fill(ref)
        try:
            done = await call
            if done is None:
                self._hot.deleted(ref)
            elif done.changed:
                self._follow(ref, done.session, fill, lambda entry: follow(entry, done, now))
            else:
                # What a write that changed nothing has renewed.
                renewal = partial(_renewed, done=done, now=now)
                self._hot.confirmed(ref, done.session.etag, renewal)
        finally:
            self._hot.end_fill(ref, fill)
        return done

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
        if view is not None and view.page is not None and view.page.lines is not held.log.lines:
            etag, window = held.session.etag, reading.window
            assert window is not None
            self._hot.reshape(ref, etag, lambda entry: entry.opened(window))
        return view

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
            self._hot.verify(ref, fill)
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


def _renewed(entry: Entry, done: Done, now: float) -> Entry:
    return entry.verified(done.session, done.now_ms, now)
