"""The durable tier by use case: one script a call, model in, model out."""

from collections.abc import Sequence
from typing import Any

from service.codec import (
    Header,
    pack_value,
    session_of,
    unpack_header,
    unpack_message,
    unpack_value,
)
from service.errors import Conflict, PreconditionFailed, TooLarge
from service.model import (
    Append,
    Appended,
    Conditions,
    Configured,
    Limits,
    Page,
    Reading,
    Session,
    SessionRef,
    SettingsChange,
    StateKey,
    StatePart,
    StateWrite,
    StoredValue,
    View,
    Written,
)
from service.store.arguments import Defaults, mutation_arguments, reading_arguments
from service.store.keys import session_keys
from service.store.link import Argument, Link, Reply
from service.store.scripts import script

MOST_NAMES = 50_000
"""Of state keys that are listed, as `read.lua` has it."""

_CHANGED, _FIXED = 5, 6  # after outcome, time, header, messages, state keys


class RedisStore:
    """Sessions in Redis. Every method may raise Unavailable or StoreFull."""

    def __init__(self, link: Link, limits: Limits, defaults: Defaults) -> None:
        """Use `link` for every call; `defaults` are those of sessions that a call creates."""
        self._link = link
        self._limits = limits
        self._defaults = defaults

    async def read(self, ref: SessionRef, reading: Reading, known: str = "") -> View | None:
        """Read a session; None if there is none.

        With the tag `known` that the session still has, messages and state are left out.
        Raises TooLarge if the state that is asked for passes the limits of an answer.
        """
        reply = await self._run("read", ref, reading_arguments(reading, known, self._limits))
        if reply[0] == b"absent":
            return None
        if reply[0] == b"too_large":
            raise self._too_large(reply[1])
        is_same, window, state = reply[_FIXED:]
        session, _ = _session(ref, reply)
        if is_same:
            return View(session=session, now_ms=reply[1], is_same=True)
        return View(
            session=session,
            now_ms=reply[1],
            page=_page(window) if reading.window else None,
            names=tuple(_key(name) for name in state) if reading.state is StatePart.NAMES else (),
            values=_read_values(reading, state),
        )

    async def configure(
        self,
        ref: SessionRef,
        change: SettingsChange,
        conditions: Conditions,
        *,
        may_create: bool,
    ) -> Configured | None:
        """Create a session or change its settings; None if it is absent and may not be made."""
        args = mutation_arguments(change, conditions, self._defaults)
        reply = await self._mutate("configure", ref, [*args, int(may_create)])
        if reply[0] == b"absent":
            return None
        session, _ = _session(ref, reply)
        return Configured(
            session=session,
            now_ms=reply[1],
            changed=bool(reply[_CHANGED]),
            created=bool(reply[_FIXED]),
        )

    async def delete(self, ref: SessionRef, conditions: Conditions) -> None:
        """Remove everything of a session. Raises PreconditionFailed."""
        await self._mutate(
            "delete", ref, mutation_arguments(SettingsChange(), conditions, self._defaults)
        )

    async def append(self, ref: SessionRef, append: Append, conditions: Conditions) -> Appended:
        """Append messages. Raises PreconditionFailed, or Conflict on another dedupe member."""
        args: list[Argument] = mutation_arguments(append.change, conditions, self._defaults)
        args += [append.dedupe, self._defaults.dedupe_window]
        for text, digest in zip(append.messages, append.digests, strict=True):
            args += [text, digest]
        reply = await self._mutate("append", ref, args)
        if reply[0] == b"conflict":
            raise Conflict(
                f"This session identifies its messages by {reply[1].decode()!r}.",
                code="dedupe_mismatch",
            )
        count, at_ms, first_seq_held, *duplicates = reply[_FIXED:]
        session, header = _session(ref, reply)
        return Appended(
            session=session,
            now_ms=reply[1],
            changed=bool(reply[_CHANGED]),
            count=count,
            at_ms=at_ms,
            last_seq=header.last_seq,
            first_seq_held=first_seq_held,
            duplicates=tuple(duplicates),
        )

    async def write_state(
        self, ref: SessionRef, write: StateWrite, conditions: Conditions
    ) -> Written:
        """Set, delete and get state values. Raises PreconditionFailed or TooLarge."""
        args: list[Argument] = mutation_arguments(write.change, conditions, self._defaults)
        args += [write.own_key or "", self._limits.max_answer_bytes]
        args += [len(write.sets), len(write.deletes), len(write.gets)]
        for key, value in write.sets.items():
            args += [key, pack_value(value)]
        reply = await self._mutate("write_state", ref, [*args, *write.deletes, *write.gets])
        if reply[0] == b"too_large":
            raise self._too_large(b"bytes")
        if reply[0] == b"absent":
            nothing: dict[StateKey, StoredValue | None] = dict.fromkeys(write.gets)
            return Written(
                session=None, now_ms=0, changed=False, added=0, deleted=0, values=nothing
            )
        added, deleted, values = reply[_FIXED:]
        session, _ = _session(ref, reply)
        return Written(
            session=session,
            now_ms=reply[1],
            changed=bool(reply[_CHANGED]),
            added=added,
            deleted=deleted,
            values=_values(write.gets, values),
        )

    async def _mutate(self, name: str, ref: SessionRef, args: Sequence[Argument]) -> Reply:
        reply = await self._run(name, ref, args)
        if reply[0] == b"precondition":
            tag = reply[1].decode()
            raise PreconditionFailed(
                "The condition does not hold for what is there now.",
                etag=f'"{tag}"' if tag else None,
            )
        return reply

    async def _run(self, name: str, ref: SessionRef, args: Sequence[Argument]) -> Reply:
        return await self._link.run(script(name), session_keys(ref), args)

    def _too_large(self, what: bytes) -> TooLarge:
        if what == b"keys":
            limit = self._limits.max_keys_per_call
            return TooLarge(f"More than {limit} state keys: list them in pages.", limit=limit)
        if what == b"names":
            words = f"More than {MOST_NAMES} state keys cannot be listed: read them by name."
            return TooLarge(words, limit=MOST_NAMES)
        limit = self._limits.max_answer_bytes
        return TooLarge(f"The answer would pass {limit} bytes: ask for less.", limit=limit)


def _session(ref: SessionRef, reply: Reply) -> tuple[Session, Header]:
    header = unpack_header(reply[2])
    return session_of(header, ref.id, reply[3], reply[4]), header


def _page(window: list[Any]) -> Page:
    first_seq, last_seq, older, newer, cut, *messages = window
    return Page(
        messages=tuple(unpack_message(message) for message in messages),
        first_seq=first_seq,
        last_seq=last_seq,
        has_older=bool(older),
        has_newer=bool(newer),
        is_cut=bool(cut),
    )


def _read_values(reading: Reading, state: list[Any]) -> dict[StateKey, StoredValue | None]:
    if reading.state is StatePart.ALL:
        return _values([_key(name) for name in state[::2]], state[1::2])
    if reading.state is StatePart.SOME:
        return _values(reading.keys, state)
    return {}


def _values(
    keys: Sequence[StateKey], stored: Sequence[bytes | None]
) -> dict[StateKey, StoredValue | None]:
    pairs = zip(keys, stored, strict=True)
    return {key: None if value is None else unpack_value(value) for key, value in pairs}


def _key(name: bytes) -> StateKey:
    return StateKey(name.decode())
