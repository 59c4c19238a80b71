"""The use cases: read-through (reads.py), write-through and write-behind over both tiers.

A write is acknowledged when Redis has applied it, or waits in the journal if its client wants that;
the hot tier follows, never leads. The clock is read before Redis is asked: an entry is rather too
old than outliving its session.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

from msgspec.structs import replace

from service.backups import Backups
from service.batching import Write
from service.clock import Clock
from service.errors import Conflict, PreconditionFailed, TooLarge, Unavailable, Unprocessable
from service.holds import Hold
from service.hot import Entry, Fill, HotTier
from service.journal import Journal
from service.merging import Bases, Patches, merged_values
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
    View,
)
from service.reads import ReadThrough
from service.sealing import Sealer
from service.settling import settled
from service.store import RedisStore
from service.turns import Turns
from service.writes import (
    NO_CHANGE,
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

MERGE_TRIES, MERGE_THREADS = 16, 2

ANY_FRESHNESS, UNCONDITIONAL = Freshness(), Conditions()

T = TypeVar("T", bound=Done | None)
D = TypeVar("D", bound=Done)
Follow = Callable[[Entry, D, float], Entry]
"""What a write makes of an entry; the last is the moment before Redis was asked."""


class Sessions:
    """Sessions of all namespaces. Every method may raise Unavailable or StoreFull."""

    def __init__(  # noqa: PLR0913 # the parts that it joins, and one figure
        self,
        store: RedisStore,
        hot: HotTier,
        sealer: Sealer,
        clock: Clock,
        limits: Limits,
        *,
        journal_bytes: int = 0,
        backups: Backups | None = None,
    ) -> None:
        """Join the tiers; `sealer` hears of what was appended and removed, `backups` of state.

        `journal_bytes` of writes may wait; 0 = none does.
        """
        self._store = store
        self._hot = hot
        self._sealer = sealer
        self._clock = clock
        self._limits = limits
        self._backups = backups
        self._reads = ReadThrough(store, hot, clock)
        self.journal = Journal(
            self._write_waiting,
            store.begin_hold,
            clock,
            most_bytes=journal_bytes,
            most_messages=limits.max_messages_per_call,
        )
        self._merging = Turns()
        self._merge_threads = asyncio.Semaphore(MERGE_THREADS)

    @settled
    async def read(
        self, ref: SessionRef, reading: Reading, freshness: Freshness = ANY_FRESHNESS
    ) -> View | None:
        """Read a session; None if Redis says that there is none."""
        return await self._reads.read(ref, reading, freshness)

    @settled
    async def configure(
        self, ref: SessionRef, change: SettingsChange, conditions: Conditions, *, may_create: bool
    ) -> Configured | None:
        """Create a session or change its settings; None if it is absent and may not be made."""
        call = self._store.configure(ref, change, conditions, may_create=may_create)
        return await self._write(ref, self._told(ref, call, change), _renewed)

    @settled
    async def delete(self, ref: SessionRef, conditions: Conditions) -> bool:
        """Remove a session with all that belongs to it; return whether a replay would do so too."""
        deleted = await self._store.delete(ref, conditions)
        self._hot.deleted(ref)
        if self._backups is not None:
            await self._backups.deleted(ref, deleted.at_ms)
        return deleted.is_kept

    @settled
    async def append(self, ref: SessionRef, append: Append, conditions: Conditions) -> Appended:
        """Append messages; creates the session."""
        return await self._append(ref, append, conditions)

    async def _append(self, ref: SessionRef, append: Append, conditions: Conditions) -> Appended:
        call = self._store.append(ref, append, conditions)
        done = await self._write(ref, call, lambda e, done, now: e.appended(append, done, now))
        assert done is not None  # an append creates the session
        self._sealer.appended(ref, done)
        return done

    @settled
    async def replace(self, ref: SessionRef, append: Append, conditions: Conditions) -> Appended:
        """Put messages in the place of all that are there; creates the session."""
        call = self._store.append(ref, append, conditions, replaces=True)
        done = await self._write(ref, call, lambda e, done, now: e.replaced(append, done, now))
        assert done is not None  # the same
        self._sealer.appended(ref, done)
        return done

    @settled
    async def remove(
        self, ref: SessionRef, removal: Removal, conditions: Conditions
    ) -> Removed | None:
        """Remove messages; None if there is no session."""
        call = self._store.remove(ref, removal, conditions)
        done = await self._write(ref, call, lambda e, done, now: e.removed(done, now))
        if done is not None:
            self._sealer.removed(ref, done)
        return done

    @settled
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

    @settled
    async def delete_state(
        self, ref: SessionRef, prefix: str, conditions: Conditions
    ) -> StateDeleted | None:
        """Delete all state keys with a prefix; None if there is no session."""
        call = self._told(ref, self._store.delete_state(ref, prefix, conditions))
        return await self._write(ref, call, lambda e, done, now: e.state_deleted(prefix, done, now))

    @settled
    async def copy(
        self, source: SessionRef, target: SessionRef, conditions: Conditions
    ) -> Done | None:
        """Make `target` of all that `source` holds; None if there is no source.

        Conditions mean the source. Raises Conflict if the target exists.
        """
        await self.journal.settle(target)
        snapshot = await self._store.snapshot(source)
        if snapshot is None:
            return None
        etag = snapshot.session.etag
        if not (conditions.has_match(etag) and conditions.has_no_match(etag)):
            words = "The condition does not hold for what is to be copied."
            raise PreconditionFailed(words, etag=str(etag))
        if target == source:  # it was there, whatever has become of it since
            raise Conflict("A session cannot be copied onto itself.", code="session_exists")
        done = await self._told(target, self._store.create(target, snapshot))
        self._hot.deleted(target)  # what a read is bringing may be from before
        return done

    async def _write_waiting(self, ref: SessionRef, write: Write) -> None:
        """Write what has waited in the journal."""
        if isinstance(write, Append):
            await self._append(ref, write, UNCONDITIONAL)
        else:
            await self._write_merged(ref, write, UNCONDITIONAL, {})

    async def _merge(
        self, ref: SessionRef, write: StateWrite, conditions: Conditions
    ) -> Written | None:
        """Merge into what memory holds, and again into what Redis says that there is instead."""
        hold = self._store.begin_hold()
        merged = await self._guessed(ref, write, hold)
        for _ in range(MERGE_TRIES):
            try:
                return await self._write_merged(ref, write, conditions, merged)
            except Moved as moved:
                hold = (
                    self._store.begin_hold()
                )  # the memory of what was merged in vain is free again
                merged = await self._merged(write.merges, moved.values, hold)
        raise Unavailable("Others change these values faster than they can be merged: try again.")

    async def _guessed(
        self, ref: SessionRef, write: StateWrite, hold: Hold
    ) -> dict[StateKey, StoredValue]:
        """Merge into what memory holds; it may be old, so it can make a call cheap, not fail."""
        bases = self._held_values(ref, tuple(write.merges))
        try:
            return await self._merged(write.merges, bases, hold)
        except (Unprocessable, TooLarge):
            return await self._merged(write.merges, {}, hold)

    async def _merged(
        self, patches: Patches, bases: Bases, hold: Hold
    ) -> dict[StateKey, StoredValue]:
        return await merged_values(patches, bases, self._limits, hold, self._merge_threads)

    async def _write_merged(
        self,
        ref: SessionRef,
        write: StateWrite,
        conditions: Conditions,
        merged: Mapping[StateKey, StoredValue],
    ) -> Written | None:
        call = self._store.write_state(ref, write, conditions, merged)
        return await self._write(
            ref,
            self._told(ref, call, write.change),
            lambda e, done, now: e.state_written(write, merged, done, now),
        )

    def _held_values(
        self, ref: SessionRef, keys: tuple[StateKey, ...]
    ) -> Mapping[StateKey, StoredValue | None]:
        """Return what memory holds of some values: a guess, which Redis checks."""
        held = self._hot.get(ref)
        reading = Reading(state=StatePart.SOME, keys=keys)
        view = held.view(reading, self._clock.monotonic()) if held else None
        return view.values if view else {}

    def _told(
        self, ref: SessionRef, call: Awaitable[T], change: SettingsChange = NO_CHANGE
    ) -> Awaitable[T]:
        """Return a write of state of which the backups hear."""
        return call if self._backups is None else self._backups.hearing(ref, call, change)

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


def _renewed(entry: Entry, done: Done, now: float) -> Entry:
    return entry.verified(done.session, done.now_ms, now)
