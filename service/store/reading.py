"""Reads of any size: no script holds Redis for more than a part, yet all parts are of one revision.

A reading that fits into one part, as nearly all do, is one call.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

from msgspec.structs import replace

from service.chunks import text_bytes
from service.codec import Header, session_of, unpack_header
from service.errors import Unavailable, session_not_found
from service.holds import Hold
from service.model import (
    Limits,
    Reading,
    SessionRef,
    Snapshot,
    StateKey,
    StatePart,
    StoredValue,
    View,
    Window,
)
from service.store import replies
from service.store.arguments import reading_arguments
from service.store.keys import backup_key, session_keys
from service.store.link import Link, Reply
from service.store.scripts import script
from service.store.windows import Messages, is_overlapping, joined, messages_of, page_of, rest_of

FIRST_BYTES = 1_048_576
"""Of the first reply, which nobody counts: replies come one after the other on their connection."""

PART_BYTES = 4_194_304
PART_COST = 3
"""Bytes of memory for a byte of a part: as it came, rendered, joined. The answer counts apart."""

SMALL_BYTES = 65_536
NAME_BYTES = 100
"""Objects of a name that is listed."""

TRIES = 8
TURN_SECONDS = 1.0
BeginHold = Callable[[], Hold]
EVERY_MESSAGE = Window(limit=1_000_000, newest=False)


class _Moved(Exception):
    """The session was changed between two parts."""


class _Part(NamedTuple):
    """One reply; `is_state_cut`: some of the state is left out."""

    view: View
    messages: Messages | None
    header: Header
    ring: bytes
    is_state_cut: bool

    @property
    def is_cut(self) -> bool:
        """Whether anything is left out."""
        return self.is_state_cut or (self.messages is not None and self.messages.is_cut)

    @property
    def size_bytes(self) -> int:
        """Bytes of the messages, values and names that came."""
        elements = self.messages.elements if self.messages else ()
        names = (*self.view.names, *self.view.packed)
        values = sum(map(len, self.view.packed.values())) + sum(map(len, elements))
        return values + sum(map(len, names)) + NAME_BYTES * len(names)


class Reader:
    """Reads sessions part by part."""

    def __init__(self, link: Link, limits: Limits, begin_hold: BeginHold) -> None:
        """Read through `link`; an answer is bounded by `limits`.

        `begin_hold` counts what comes beyond a first part, before it comes.
        """
        self._link = link
        self._limits = limits
        self._begin_hold = begin_hold
        most = max(PART_BYTES, limits.max_message_bytes)
        self._part_bytes = min(most, limits.max_answer_bytes)
        self._first_bytes = min(FIRST_BYTES, self._part_bytes)
        self._large = asyncio.Lock()

    async def read(self, ref: SessionRef, reading: Reading, known: str = "") -> View | None:
        """Read a session; None if there is none. Raises NotFound if a backup of it is found."""
        whole = await self._whole(ref, reading, known)
        if whole is None or whole.messages is None or reading.window is None:
            return whole.view if whole else None
        page = page_of(whole.messages, reading.window, self._most)
        return replace(whole.view, page=page, elements=tuple(whole.messages.elements))

    async def snapshot(self, ref: SessionRef) -> Snapshot | None:
        """Read all of a session; None if there is none. Raises TooLarge."""
        reading = Reading(window=EVERY_MESSAGE, state=StatePart.ALL, is_snapshot=True)
        whole = await self._whole(ref, reading, "")
        if whole is None or whole.messages is None:
            return None
        view, messages = whole.view, whole.messages
        size = sum(map(text_bytes, messages.elements)) + _state_size(view.values.values())
        if messages.is_cut or size > self._most:
            raise replies.too_large(b"bytes", self._limits)
        return Snapshot(
            session=view.session,
            elements=tuple(messages.elements),
            values={key: view.packed[key] for key, stored in view.values.items() if stored},
            expiries={k: v.expires_at_ms for k, v in view.values.items() if v and v.expires_at_ms},
            log=whole.header.log,
            ring=whole.ring,
            hold=view.hold,
        )

    @property
    def _most(self) -> int:
        return self._limits.max_answer_bytes

    async def _whole(self, ref: SessionRef, reading: Reading, known: str) -> _Part | None:
        part = await self._part(ref, reading, known)
        if part is None or part.view.is_same:
            return part
        if not part.is_cut:
            view = self._counted(part.view, part.size_bytes)
            return part._replace(view=view.without_expired(reading.state))
        del part  # while it waits for its turn it holds nothing
        async with self._turn():
            return await self._by_parts(ref, reading)

    def _counted(self, view: View, size_bytes: int) -> View:
        """Return the view with what speaks for it, if it is not small: it may wait again."""
        if size_bytes <= SMALL_BYTES:
            return view
        hold = self._begin_hold()
        hold.grow(PART_COST * size_bytes)
        return replace(view, hold=hold)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Let one read of many parts go at a time: several would take each other's memory."""
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._large.acquire()
        except TimeoutError:
            raise self._begin_hold().refusal() from None
        try:
            yield
        finally:
            self._large.release()

    async def _by_parts(self, ref: SessionRef, reading: Reading) -> _Part | None:
        for _ in range(TRIES):
            part = await self._part(ref, reading, "")
            if part is None:
                return None
            try:
                return await self._completed(ref, reading, part)
            except _Moved:
                continue
        raise Unavailable("The session changes faster than all of it can be read: try again.")

    async def _completed(self, ref: SessionRef, reading: Reading, part: _Part) -> _Part:
        """Return the part with what its reply left out. Raises _Moved, and what the hold raises."""
        messages, hold = part.messages, self._begin_hold()
        hold.grow(PART_COST * part.size_bytes)
        view = replace(part.view, hold=hold)
        if messages and messages.is_cut and reading.window:
            messages = await self._all_messages(ref, reading.window, view, messages)
        if part.is_state_cut:
            view = await self._with_all_values(ref, reading, view)
        return part._replace(view=view.without_expired(reading.state), messages=messages)

    async def _all_messages(
        self, ref: SessionRef, window: Window, view: View, messages: Messages
    ) -> Messages:
        size = sum(map(text_bytes, messages.elements))
        while messages.is_cut and size < self._most:
            rest = Reading(window=rest_of(window, messages.elements))
            part = await self._same(ref, rest, view, min(self._part_bytes, self._most - size))
            assert part.messages is not None  # a window was asked for
            if is_overlapping(messages, part.messages, window):
                raise _Moved  # sealed meanwhile: the revision does not tell
            messages = joined(messages, part.messages, window)
            if not part.messages.elements:
                break
            size = sum(map(text_bytes, messages.elements))
        return messages

    async def _with_all_values(self, ref: SessionRef, reading: Reading, view: View) -> View:
        """Return the view with the values of a state that is read by parts. Raises TooLarge."""
        values, packed = dict(view.values), dict(view.packed)
        keys: Iterable[StateKey] = reading.keys
        if reading.state is StatePart.ALL:
            listing = replace(reading, window=None, state=StatePart.NAMES)
            names = await self._same(ref, listing, view, self._part_bytes)
            keys = names.view.names
        missing = tuple(key for key in keys if key not in values)
        while missing:
            rest = Reading(state=StatePart.SOME, keys=missing, renews=reading.renews)
            part = await self._same(ref, rest, view, self._part_bytes)
            values |= part.view.values
            packed |= part.view.packed
            missing = missing[len(part.view.values) :]
            # One alone is always read: it was accepted, be it under higher limits.
            if len(values) > 1 and _state_size(values.values()) > self._most:
                raise replies.too_large(b"bytes", self._limits)
        return replace(view, values=values, packed=packed)

    async def _same(self, ref: SessionRef, reading: Reading, view: View, budget: int) -> _Part:
        """Read a further part of the same revision. Raises _Moved, and what the hold raises."""
        assert view.hold is not None
        view.hold.grow(PART_COST * budget)
        part = await self._part(ref, reading, "", budget)
        if part is None or part.view.session.etag != view.session.etag:
            raise _Moved
        view.hold.shrink(PART_COST * max(0, budget - part.size_bytes))
        return part

    async def _part(
        self, ref: SessionRef, reading: Reading, known: str, budget: int | None = None
    ) -> _Part | None:
        args = reading_arguments(reading, known, budget or -self._first_bytes, self._limits)
        is_large = reading.is_snapshot or budget is not None
        keys: tuple[bytes, ...] = session_keys(ref)
        if reading.finds_backup:
            keys = (*keys, backup_key(ref))
        reply = await self._link.run(script("read"), keys, args, is_large=is_large or None)
        if reply[0] == b"absent":
            if reply[1]:
                raise session_not_found(has_backup=True)
            return None
        if reply[0] in replies.REFUSALS:
            replies.raise_refusal(reply, self._limits)
        return _parsed(ref, reading, reply)


def _parsed(ref: SessionRef, reading: Reading, reply: Reply) -> _Part:
    is_same, window, state, pairs, ring = reply[replies.OWN :]
    header = unpack_header(reply[2])
    session = session_of(header, ref.id, reply[3])
    if is_same:
        view = View(session=session, now_ms=reply[1], is_same=True)
        return _Part(view, None, header, b"", is_state_cut=False)
    ends, keys = replies.expiries(pairs), reading.keys
    names: dict[StateKey, int | None] = {}
    if reading.state is StatePart.ALL:
        keys, state = tuple(map(replies.state_key, state[::2])), state[1::2]
    elif reading.state is StatePart.NAMES:
        names = {key: ends.get(key) for key in map(replies.state_key, state)}
        keys, state = (), []
    view = View(
        session=session,
        now_ms=reply[1],
        names=names,
        values=replies.values(keys[: len(state)], state, ends),
        packed={key: value for key, value in zip(keys, state, strict=False) if value is not None},
    )
    messages = messages_of(window) if reading.window else None
    return _Part(view, messages, header, ring, is_state_cut=_is_state_cut(reading, view))


def _is_state_cut(reading: Reading, view: View) -> bool:
    if reading.state is StatePart.ALL:
        return not view.values and view.session.state_key_count > 0
    return reading.state is StatePart.SOME and len(view.values) < len(reading.keys)


def _state_size(values: Iterable[StoredValue | None]) -> int:
    return sum(len(stored.value.data) for stored in values if stored)
