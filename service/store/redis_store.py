"""The durable tier by use case: one script a call, model in, model out."""

from collections.abc import Callable, Mapping, Sequence

from service.archive import StateCopy
from service.chunks import Sealing, Unsealed, columns_of
from service.codec import pack_values
from service.errors import Outcome, Unavailable
from service.holds import Hold, Uncounted
from service.model import (
    Conditions,
    Limits,
    Lines,
    Reading,
    SessionRef,
    Snapshot,
    StateKey,
    StoredValue,
    View,
)
from service.store import replies
from service.store.arguments import (
    TAIL,
    Defaults,
    append_arguments,
    mutation_arguments,
    new_tag,
    restored_arguments,
    sealing_arguments,
    settings_of,
    snapshot_arguments,
    state_arguments,
)
from service.store.keys import backup_key, lease_key, session_keys
from service.store.link import Argument, Link
from service.store.reading import FIRST_BYTES, PART_COST, BeginHold, Reader
from service.store.recorder import Recorder
from service.store.replay.log import ReplayLog
from service.store.scripts import script
from service.writes import (
    NO_CHANGE,
    Append,
    Appended,
    Configured,
    Deleted,
    Done,
    Idempotency,
    Moved,
    Removal,
    Removed,
    SettingsChange,
    StateDeleted,
    StateWrite,
    Written,
)


class RedisStore:
    """Sessions in Redis. Every method may raise Unavailable; writes also StoreFull.

    A write raises PreconditionFailed, Locked (the token of another lease), and if it is a keyed
    call Unprocessable (the key was another call's).
    """

    def __init__(
        self,
        link: Link,
        limits: Limits,
        defaults: Defaults,
        begin_hold: BeginHold = Uncounted,
        log: ReplayLog | None = None,
    ) -> None:
        """Use `link` for every call; `defaults` are those of sessions that a call creates.

        `begin_hold` is asked before much is read; it may raise Unavailable or TooLarge. `log` keeps
        all that is written.
        """
        self._recorder = Recorder(log or ReplayLog(0))
        self._link = link
        self._limits = limits
        self._defaults = defaults
        self.begin_hold = begin_hold
        self._reader = Reader(link, limits, begin_hold)

    async def read(self, ref: SessionRef, reading: Reading, known: str = "") -> View | None:
        """Read a session; None if there is none.

        With the tag `known` that the session still has, messages and state are left out.
        Raises TooLarge if the state that is asked for passes the limits of an answer.
        """
        view = await self._reader.read(ref, reading, known)
        self._recorder.read(ref, view)
        return view

    async def snapshot(self, ref: SessionRef) -> Snapshot | None:
        """Read all of a session; None if there is none. Raises TooLarge."""
        return await self._reader.snapshot(ref)

    async def configure(
        self,
        ref: SessionRef,
        change: SettingsChange,
        conditions: Conditions,
        *,
        may_create: bool,
    ) -> Configured | None:
        """Create a session or change its settings; None if it is absent and may not be made."""
        args = self._common(change, conditions)
        reply, is_kept = await self._run("configure", ref, [*args, int(may_create)], conditions)
        if reply[0] == b"absent":
            return None
        return Configured(**replies.fixed(ref, reply, is_kept), created=bool(reply[replies.OWN]))

    async def delete(self, ref: SessionRef, conditions: Conditions) -> Deleted:
        """Remove everything of a session, its backup in this Redis too."""
        args = self._common(NO_CHANGE, conditions)
        reply, is_kept = await self._run("delete", ref, args, conditions, backup_key(ref))
        return Deleted(at_ms=reply[-1], is_kept=is_kept)

    async def append(
        self, ref: SessionRef, append: Append, conditions: Conditions, *, replaces: bool = False
    ) -> Appended:
        """Append messages, or put them in the place of all that are there.

        Raises Conflict on another dedupe member, TooLarge if more would replace than are kept.
        """
        args = self._common(append.change, conditions, append.idempotency)
        args += append_arguments(append, self._defaults.dedupe_window, replaces=replaces)
        reply, is_kept = await self._run("append", ref, args, conditions)
        count, last_seq, duplicates, *held = reply[replies.OWN :]
        at_ms, oldest, newest = held or (0, None, None)
        return Appended(
            **replies.fixed(ref, reply, is_kept),
            count=count,
            last_seq=last_seq,
            duplicates=tuple(duplicates),
            at_ms=at_ms,
            first_seq_held=oldest,
            last_seq_held=newest,
        )

    async def remove(
        self, ref: SessionRef, removal: Removal, conditions: Conditions
    ) -> Removed | None:
        """Remove messages; None if there is no session. Raises TooLarge if LAST has too much."""
        is_kept = removal.idempotency is not None
        most = replies.MOST_REMEMBERED_BYTES if is_kept else self._limits.max_answer_bytes
        args = self._common(NO_CHANGE, conditions, removal.idempotency)
        args += [removal.cut, removal.number]
        (reply, is_kept), hold = await self._run_answering(
            "remove", ref, lambda room_bytes: [*args, room_bytes], most, conditions
        )
        if reply[0] == b"absent":
            return None
        count, elements, *left = reply[replies.OWN :]
        narrowed, oldest, newest = left or (b"", None, None)
        columns = columns_of(elements)
        return Removed(
            **replies.fixed(ref, reply, is_kept),
            count=count,
            first_seq=oldest,
            last_seq=newest,
            lines=Lines.of(columns.newest(count)),
            narrowed=narrowed,
            hold=hold,
        )

    async def write_state(
        self,
        ref: SessionRef,
        write: StateWrite,
        conditions: Conditions,
        merged: Mapping[StateKey, StoredValue] | None = None,
    ) -> Written | None:
        """Set, delete and get state values; None if there is no session and nothing to set.

        `merged` has what the merges come to, with the tag of the value that each was made of (0 =
        of none): raises Moved if one has another tag by now. Raises TooLarge.
        """
        tag, merged = new_tag(), merged or {}
        args = self._common(write.change, conditions, write.idempotency)
        values = {**write.sets, **{key: stored.value for key, stored in merged.items()}}
        packed = pack_values(values, tag)
        (reply, is_kept), hold = await self._run_answering(
            "write_state",
            ref,
            lambda room_bytes: [*args, *state_arguments(write, merged, packed, room_bytes)],
            self._limits.max_answer_bytes,
            conditions,
        )
        if reply[0] == b"absent":
            return None
        if reply[0] == b"moved":
            moved = replies.values(tuple(merged), reply[2], replies.expiries(reply[3]))
            raise Moved(moved, hold)
        added, deleted, values, pairs = reply[replies.OWN :]
        known = replies.fixed(ref, reply, is_kept)
        got = replies.values(write.gets, values, replies.expiries(pairs))
        return Written(
            **known,
            added=added,
            deleted=deleted,
            tag=tag,
            packed=packed,
            values=replies.alive(got, known["now_ms"]),
            hold=hold,
        )

    async def delete_state(
        self, ref: SessionRef, prefix: str, conditions: Conditions
    ) -> StateDeleted | None:
        """Delete all state keys with a prefix; None if there is no session. Raises TooLarge."""
        args = [*self._common(NO_CHANGE, conditions), prefix]
        reply, is_kept = await self._run("delete_state", ref, args, conditions)
        if reply[0] == b"absent":
            return None
        return StateDeleted(**replies.fixed(ref, reply, is_kept), deleted=reply[replies.OWN])

    async def create(self, ref: SessionRef, snapshot: Snapshot) -> Done:
        """Make a session out of a snapshot of another. Raises Conflict if there is one already."""
        args = self._common(settings_of(snapshot.session), Conditions())
        args += snapshot_arguments(snapshot, new_tag())
        reply, is_kept = await self._run("create", ref, args, Conditions())
        return Done(**replies.fixed(ref, reply, is_kept))

    async def restore(
        self, ref: SessionRef, copy: StateCopy, conditions: Conditions, *, replaces: bool
    ) -> Configured:
        """Make a session of a copy, or, if it `replaces`, give its state and settings to one.

        Raises Conflict if there is a session and none may be replaced.
        """
        args = self._common(settings_of(copy.session), conditions)
        args += restored_arguments(copy, new_tag(), replaces=replaces)
        reply, is_kept = await self._run("restore", ref, args, conditions)
        return Configured(**replies.fixed(ref, reply, is_kept), created=bool(reply[replies.OWN]))

    async def unsealed(self, ref: SessionRef, seq: int) -> Unsealed | None:
        """Read what is to be sealed from a seq on, a part of it; None if nothing is there."""
        args: list[Argument] = [seq, *TAIL]
        reply = await self._link.run(script("tail"), session_keys(ref), args, is_large=True)
        if reply[0] == b"absent" or not reply[3]:
            return None
        return Unsealed(reply[1].decode(), reply[2], reply[3])

    async def seal(self, ref: SessionRef, gen: str, sealing: Sealing) -> bool:
        """Put a chunk in the place of what it was made of; False if that is not there any more."""
        args = sealing_arguments(gen, sealing)
        reply = await self._link.run(script("seal"), session_keys(ref), args)
        return bool(reply[0] == b"ok")

    def _common(
        self,
        change: SettingsChange,
        conditions: Conditions,
        idempotency: Idempotency | None = None,
    ) -> list[Argument]:
        return mutation_arguments(change, conditions, self._defaults, idempotency)

    async def _run_answering(
        self,
        name: str,
        ref: SessionRef,
        args: Callable[[int], Sequence[Argument]],
        most_bytes: int,
        conditions: Conditions,
    ) -> tuple[replies.Answer, Hold | None]:
        """Run a script that may answer much; `args` takes how much it may.

        At first that is as little as nobody has to speak for.
        """
        room_bytes = most_bytes if most_bytes <= FIRST_BYTES else -FIRST_BYTES
        answer = await self._run(name, ref, args(room_bytes), conditions)
        if answer.reply[0] != b"larger":
            return answer, None
        hold = self.begin_hold()
        hold.grow(PART_COST * most_bytes)
        return await self._run(name, ref, args(most_bytes), conditions), hold

    async def _run(
        self,
        name: str,
        ref: SessionRef,
        args: Sequence[Argument],
        conditions: Conditions,
        *others: bytes,
    ) -> replies.Answer:
        keys: tuple[bytes, ...] = session_keys(ref)
        if conditions.lease_token is not None or others:
            keys = (*keys, lease_key(ref), *others)
        try:
            reply = await self._link.run(script(name), keys, args)
        except Unavailable as error:
            if error.outcome is Outcome.UNKNOWN:
                self._recorder.unsure(name, ref, args)
            raise
        is_kept = self._recorder.wrote(name, ref, args, reply)
        if reply[0] in replies.REFUSALS:
            replies.raise_refusal(reply, self._limits)
        return replies.Answer(reply, is_kept)
