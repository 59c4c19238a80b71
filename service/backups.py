"""Keeps a second copy of each session's state, behind its writes, and brings it back.

A copy is made when a session has been quiet for a while, and during constant writes once in a
longer while. No write waits for it. What could not be copied is tried again: what waits is bounded,
and forgotten from the oldest on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from service.archive import Damaged, StateCopy
from service.archiving import Archiver
from service.clock import Clock
from service.debounce import Debounce
from service.errors import (
    NotFound,
    Outcome,
    ServiceError,
    TooLarge,
    Unavailable,
    Unprocessable,
)
from service.hot import HotTier
from service.model import Conditions, Reading, Session, SessionRef, StatePart
from service.store import Backup, BackupStore, Mark, RedisStore
from service.vitals import Counters
from service.writes import Configured, Done, SettingsChange

QUIET_SECONDS = 5.0
MOST_SECONDS = 30.0
"""Between the first write that has no copy and its copy, however many others follow."""

MOST_WAITING = 20_000
"""Sessions; some 300 bytes each."""

EARLIER_MS = 3_600_000
"""So long a session that was made anew leaves its id the copy of the former one: it was not
deleted, but lost, and the first writes to an empty session must not take its backup away."""

AT_ONCE = 4
PAUSE_SECONDS = 1.0
RETRY_SECONDS = 5.0
LOOK_SECONDS = 0.3
"""For whether there is a copy, where the answer is that there is no session."""

LAST_SECONDS = 2.0
"""At the end of the process."""

ALL_STATE = Reading(state=StatePart.ALL, is_snapshot=True, renews=False)

D = TypeVar("D", bound=Done | None)

_NEVER = float("-inf")
_log = logging.getLogger("ballast.backups")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPolicy:
    """Not `enabled` = no copies are made; `is_full`: the Redis of the sessions has no room.

    `settle` returns when nothing of a session waits to be written.
    """

    enabled: bool
    is_full: Callable[[], bool]
    settle: Callable[[SessionRef], Awaitable[None]]


class Backups:
    """Keeps whose state was written, copies it in the background, and restores it."""

    def __init__(
        self,
        store: RedisStore,
        copies: BackupStore,
        hot: HotTier,
        clock: Clock,
        policy: BackupPolicy,
    ) -> None:
        """Copy what `store` has into `copies`; `hot` forgets what is restored."""
        self._store = store
        self._copies = copies
        self._hot = hot
        self._clock = clock
        self._policy = policy
        self._archiver = Archiver(store.begin_hold)
        self._waiting = Debounce[SessionRef](
            quiet_seconds=QUIET_SECONDS, most_seconds=MOST_SECONDS, most_waiting=MOST_WAITING
        )
        self._rests_until = self._looked_at = _NEVER
        self._written = self._skipped = self._failures = 0

    @property
    def counters(self) -> Counters:
        """What was done since the start."""
        return {
            "backupsWritten": self._written,
            "backupsSkipped": self._skipped,
            "backupFailures": self._failures,
        }

    @property
    def are_here(self) -> bool:
        """Whether copies are in the Redis of the sessions."""
        return not self._copies.is_elsewhere

    @property
    def is_away(self) -> bool:
        """Whether there is a second Redis for copies that does not answer."""
        return self._copies.is_elsewhere and not self._copies.is_answering

    def note(self, ref: SessionRef) -> None:
        """Hear that a session's state was written, or may have been."""
        if self._policy.enabled:
            self._skipped += not self._waiting.note(ref, self._clock.monotonic())

    async def hearing(self, ref: SessionRef, call: Awaitable[D], change: SettingsChange) -> D:
        """Make a call that writes state or names settings, and note what it has written."""
        try:
            done = await call
        except Unavailable as error:
            if error.outcome is Outcome.UNKNOWN:
                self.note(ref)
            raise
        if done is not None and self._has_to_follow(done, change):
            self.note(ref)
        return done

    async def deleted(self, ref: SessionRef, at_ms: int) -> None:
        """Delete the copy of a session that was deleted at a time of Redis. Raises Unavailable."""
        self._waiting.discard(ref)
        try:
            await self._copies.delete(ref, at_ms)
        except ServiceError:
            raise _half_deleted() from None

    async def find(self, ref: SessionRef) -> Backup | None:
        """Return what is known of a copy, None if there is none. Raises Unavailable."""
        return await self._copies.find(ref)

    async def has(self, ref: SessionRef) -> bool:
        """Whether there is a copy; no, if that is not to be known soon."""
        if not self._copies.is_answering:
            return False
        with suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._copies.find(ref) is not None
        return False

    async def restore(
        self, ref: SessionRef, conditions: Conditions, *, replaces: bool
    ) -> Configured:
        """Make a session of its copy; if it `replaces`, also in the place of the state of one.

        Raises NotFound, Conflict if there is a session, Unprocessable for a copy that is damaged.
        """
        await self._policy.settle(ref)
        hold = self._store.begin_hold()
        packed = await self._copies.fetch(ref, hold)
        if packed is None:
            raise backup_not_found()
        try:
            copy = await self._archiver.unpack(packed, hold)
        except Damaged:
            words = "The backup is damaged: nothing was restored."
            raise Unprocessable(words, code="backup_damaged") from None
        done = await self._store.restore(ref, copy, conditions, replaces=replaces)
        self._hot.deleted(ref)  # what a read is bringing may be from before
        await self._adopt(ref, copy, done.session, packed)
        return done

    async def run(self) -> None:
        """Copy what is due, again and again."""
        while True:
            await self._look()
            await self.copy_due()
            await asyncio.sleep(PAUSE_SECONDS)

    async def copy_due(self) -> None:
        """Copy all that is due now, unless it has to wait."""
        now = self._clock.monotonic()
        if now >= self._rests_until and not self.is_away:
            await self._copy_all(self._waiting.due(now))

    async def aclose(self) -> None:
        """Copy all that waits, as far as LAST_SECONDS suffice, and close what is open."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await self._copy_all(list(self._waiting))
        if self._waiting:
            _log.warning("The last state of %d sessions has no backup.", len(self._waiting))
        await self._copies.aclose()

    async def _look(self) -> None:
        """Ask a second Redis whether it is there: nobody else may for long."""
        now = self._clock.monotonic()
        if self.is_away or (self._copies.is_elsewhere and now - self._looked_at >= RETRY_SECONDS):
            self._looked_at = now
            with suppress(ServiceError):
                await self._copies.look()

    async def _copy_all(self, refs: Sequence[SessionRef]) -> None:
        """Copy some at a time, until one of the servers is away or has no room."""
        for start in range(0, len(refs), AT_ONCE):
            if self.are_here and self._policy.is_full():
                return
            part = refs[start : start + AT_ONCE]
            if not all(await asyncio.gather(*map(self._copy, part))):
                self._rests_until = self._clock.monotonic() + RETRY_SECONDS
                return

    async def _copy(self, ref: SessionRef) -> bool:
        """Copy the state of a session; False if it has to be tried again later."""
        noted_at = self._waiting.noted_at(ref)
        try:
            await self._try(ref)
        except TooLarge:
            self._skipped += 1
        except ServiceError:
            self._failures += 1
            return False
        except Exception:  # noqa: BLE001 # counted, and shown by /health
            self._failures += 1
            _log.exception("The state of a session could not be copied.")
        self._waiting.settle(ref, noted_at, self._clock.monotonic())
        return True

    async def _try(self, ref: SessionRef) -> None:
        view = await self._store.read(ref, ALL_STATE)
        if view is None:
            return  # whether it was lost, or has expired: its copy may be wanted
        session = view.session
        mark = Mark(session.etag, view.now_ms, len(view.values))
        packed = b""
        if view.values and self._is_worth_it(session):
            packed = await self._archiver.pack(view)
        is_grown_up = view.now_ms - session.created_at_ms >= EARLIER_MS
        is_kept = await self._copies.keep(ref, mark, packed, replaces_earlier=is_grown_up)
        self._written += is_kept and bool(packed)
        self._skipped += not is_kept

    async def _adopt(
        self, ref: SessionRef, copy: StateCopy, session: Session, packed: bytes
    ) -> None:
        """Make the copy one of the session that was made of it: the next copies may follow it."""
        if not (self._policy.enabled and self._is_worth_it(session)):
            return
        mark = Mark(session.etag, copy.at_ms, len(copy.values))
        try:
            await self._copies.keep(ref, mark, packed, replaces_earlier=True)
        except ServiceError:
            self._failures += 1

    def _has_to_follow(self, done: Done, change: SettingsChange) -> bool:
        """Whether the copy is not what there is any more, or has to go."""
        # A repetition may be of a call whose process has not lived to note it.
        if not done.changed and done.replayed_rev is None:
            return False
        if isinstance(done, Configured) and not done.session.state_key_count:
            return False
        names_expiry = (change.ttl_ms, change.max_age_ms) != (None, None)
        return names_expiry or self._is_worth_it(done.session)

    def _is_worth_it(self, session: Session) -> bool:
        """Whether a copy may outlive a session: one that cannot expire is lost with its Redis."""
        return self._copies.is_elsewhere or session.expires_at_ms is not None


def backup_not_found() -> NotFound:
    """Return the error of a session whose state has no copy."""
    return NotFound("There is no backup of this session's state.", code="backup_not_found")


def _half_deleted() -> Unavailable:
    words = "The session is deleted, but its backup could not be: send it again."
    return Unavailable(words, outcome=Outcome.UNKNOWN)
