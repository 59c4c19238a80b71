"""Reads of any size: no script holds Redis for more than a part, yet all parts are of one revision.

A reading that fits into one part, as nearly all do, is one call.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from service.codec import Header
from service.errors import Unavailable
from service.model import (
    Limits,
    Message,
    Page,
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
from service.store.keys import session_keys
from service.store.link import Link, Reply
from service.store.scripts import script

PART_BYTES = 4_194_304
TRIES = 8
EVERY_MESSAGE = Window(limit=1_000_000, newest=False)


class _Moved(Exception):
    """The session was changed between two parts."""


class _Part(NamedTuple):
    """One reply: the view, the header, the ring, and whether some of the state is left out."""

    view: View
    header: Header
    ring: bytes
    is_state_cut: bool


class Reader:
    """Reads sessions part by part."""

    def __init__(self, link: Link, limits: Limits) -> None:
        """Read through `link`; an answer is bounded by `limits`."""
        self._link = link
        self._limits = limits
        most = max(PART_BYTES, limits.max_message_bytes)
        self._part_bytes = min(most, limits.max_answer_bytes)

    async def read(self, ref: SessionRef, reading: Reading, known: str = "") -> View | None:
        """Read a session; None if there is none."""
        whole = await self._whole(ref, reading, known)
        return whole.view if whole else None

    async def snapshot(self, ref: SessionRef) -> Snapshot | None:
        """Read all of a session; None if there is none. Raises TooLarge."""
        reading = Reading(window=EVERY_MESSAGE, state=StatePart.ALL, is_snapshot=True)
        whole = await self._whole(ref, reading, "")
        if whole is None:
            return None
        view, page = whole.view, whole.view.page or Page()
        if page.is_cut or _size(page.messages) + _state_size(view.values.values()) > self._most:
            raise replies.too_large(b"bytes", self._limits)
        return Snapshot(
            session=view.session,
            messages=page.messages,
            values={key: stored for key, stored in view.values.items() if stored},
            last_seq=whole.header.last_seq,
            dedupe=whole.header.dedupe,
            ring=whole.ring,
        )

    @property
    def _most(self) -> int:
        return self._limits.max_answer_bytes

    async def _whole(self, ref: SessionRef, reading: Reading, known: str) -> _Part | None:
        for _ in range(TRIES):
            part = await self._part(ref, reading, known)
            if part is None or part.view.is_same:
                return part
            try:
                return part._replace(view=await self._completed(ref, reading, part))
            except _Moved:
                continue
        raise Unavailable("The session changes faster than all of it can be read: try again.")

    async def _completed(self, ref: SessionRef, reading: Reading, part: _Part) -> View:
        """Return the view with the parts that its first reply left out. Raises _Moved."""
        view = part.view
        if reading.window and view.page and view.page.is_cut:
            view = replace(view, page=await self._all_messages(ref, reading.window, view))
        if part.is_state_cut:
            view = replace(view, values=await self._all_values(ref, reading, view))
        return view.without_expired(reading.state)

    async def _all_messages(self, ref: SessionRef, window: Window, view: View) -> Page:
        page = view.page or Page()
        while page.is_cut and page.messages and _size(page.messages) < self._most:
            budget = min(self._part_bytes, self._most - _size(page.messages))
            rest = Reading(window=_rest(window, page))
            part = await self._same(ref, rest, view, budget)
            following = part.view.page or Page()
            page = _joined(page, following, window)
            if not following.messages:
                break
        return page

    async def _all_values(
        self, ref: SessionRef, reading: Reading, view: View
    ) -> dict[StateKey, StoredValue | None]:
        """Return the values of a state that is read by parts. Raises TooLarge."""
        values = dict(view.values)
        keys: Iterable[StateKey] = reading.keys
        if reading.state is StatePart.ALL:
            listing = Reading(state=StatePart.NAMES, is_snapshot=reading.is_snapshot)
            names = await self._same(ref, listing, view, self._part_bytes)
            keys = names.view.names
        missing = tuple(key for key in keys if key not in values)
        while missing:
            rest = Reading(state=StatePart.SOME, keys=missing)
            part = await self._same(ref, rest, view, self._part_bytes)
            values |= part.view.values
            missing = missing[len(part.view.values) :]
            if _state_size(values.values()) > self._most:
                raise replies.too_large(b"bytes", self._limits)
        return values

    async def _same(self, ref: SessionRef, reading: Reading, view: View, budget: int) -> _Part:
        """Read a further part of the same revision. Raises _Moved."""
        part = await self._part(ref, reading, "", budget)
        if part is None or part.view.session.etag != view.session.etag:
            raise _Moved
        return part

    async def _part(
        self, ref: SessionRef, reading: Reading, known: str, budget: int | None = None
    ) -> _Part | None:
        args = reading_arguments(reading, known, budget or self._part_bytes, self._limits)
        reply = await self._link.run(script("read"), session_keys(ref), args)
        if reply[0] == b"absent":
            return None
        if reply[0] in replies.REFUSALS:
            replies.raise_refusal(reply, self._limits)
        return _parsed(ref, reading, reply)


def _parsed(ref: SessionRef, reading: Reading, reply: Reply) -> _Part:
    is_same, window, state, pairs, ring = reply[replies.OWN :]
    session, header = replies.session(ref, reply), replies.header(reply)
    if is_same:
        view = View(session=session, now_ms=reply[1], is_same=True)
        return _Part(view, header, b"", is_state_cut=False)
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
        page=replies.page(window) if reading.window else None,
        names=names,
        values=replies.values(keys[: len(state)], state, ends),
    )
    return _Part(view, header, ring, is_state_cut=_is_state_cut(reading, view))


def _is_state_cut(reading: Reading, view: View) -> bool:
    if reading.state is StatePart.ALL:
        return not view.values and view.session.state_key_count > 0
    return reading.state is StatePart.SOME and len(view.values) < len(reading.keys)


def _rest(window: Window, page: Page) -> Window:
    """Return the window of what does not stand on a page that was cut."""
    limit = window.limit - len(page.messages)
    budget = None if window.max_bytes is None else window.max_bytes - _size(page.messages)
    if _is_reverse(window):
        return replace(window, limit=limit, before=page.messages[0].seq, max_bytes=budget)
    return replace(window, limit=limit, after=page.messages[-1].seq)


def _joined(page: Page, following: Page, window: Window) -> Page:
    if not following.messages:
        return replace(page, is_cut=following.is_cut)
    if _is_reverse(window):
        both = following.messages + page.messages
        return replace(following, messages=both, has_newer=page.has_newer)
    return replace(following, messages=page.messages + following.messages, has_older=page.has_older)


def _is_reverse(window: Window) -> bool:
    return window.newest or window.max_bytes is not None


def _size(messages: Iterable[Message]) -> int:
    return sum(len(message.data) for message in messages)


def _state_size(values: Iterable[StoredValue | None]) -> int:
    return sum(len(stored.value.data) for stored in values if stored)
