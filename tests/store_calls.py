"""Calls of the durable tier, short: what a test does not name is left at its default."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from service.codec import digest
from service.model import (
    Append,
    Appended,
    Conditions,
    Configured,
    Limits,
    Message,
    Namespace,
    Page,
    Reading,
    Session,
    SessionId,
    SessionRef,
    SettingsChange,
    StateKey,
    StatePart,
    StateWrite,
    Value,
    View,
    Window,
    Written,
)
from service.store import Defaults, Link, RedisStore, RedisTarget

DEFAULTS = Defaults(ttl_ms=3_600_000, max_messages=1_000, dedupe_window=512)
EVERYTHING = Reading(window=Window(limit=1_000_000), state=StatePart.ALL)
NOTHING_NAMED = SettingsChange()
UNCONDITIONAL = Conditions()


def ref_of(name: str, namespace: str = "default") -> SessionRef:
    return SessionRef(namespace=Namespace(namespace), id=SessionId(name))


CHAT = ref_of("chat")


class Tier(Protocol):
    """What the store and the use cases over it have in common."""

    async def read(self, ref: SessionRef, reading: Reading, /) -> View | None: ...

    async def configure(
        self, ref: SessionRef, change: SettingsChange, conditions: Conditions, *, may_create: bool
    ) -> Configured | None: ...

    async def delete(self, ref: SessionRef, conditions: Conditions) -> None: ...

    async def append(self, ref: SessionRef, append: Append, conditions: Conditions) -> Appended: ...

    async def write_state(
        self, ref: SessionRef, write: StateWrite, conditions: Conditions
    ) -> Written: ...


@dataclass(frozen=True, slots=True)
class Chat:
    """One session of a tier."""

    tier: Tier
    ref: SessionRef = CHAT

    async def put(
        self,
        change: SettingsChange = NOTHING_NAMED,
        conditions: Conditions = UNCONDITIONAL,
    ) -> Configured:
        done = await self.tier.configure(self.ref, change, conditions, may_create=True)
        assert done is not None
        return done

    async def change(
        self,
        change: SettingsChange = NOTHING_NAMED,
        conditions: Conditions = UNCONDITIONAL,
    ) -> Configured | None:
        return await self.tier.configure(self.ref, change, conditions, may_create=False)

    async def say(
        self,
        *texts: str,
        change: SettingsChange = NOTHING_NAMED,
        conditions: Conditions = UNCONDITIONAL,
    ) -> Appended:
        messages = tuple(text.encode() for text in texts)
        append = Append(messages=messages, digests=(b"",) * len(messages), change=change)
        return await self.tier.append(self.ref, append, conditions)

    async def say_once(self, *ids: str | None, member: str = "id") -> Appended:
        """Append a message for each id, deduped by it; None = a message without an id."""
        messages = tuple(str(name).encode() for name in ids)
        append = Append(messages=messages, digests=tuple(map(digest, ids)), dedupe=member)
        return await self.tier.append(self.ref, append, UNCONDITIONAL)

    async def write(  # noqa: PLR0913 # as many as a state write has parts
        self,
        sets: Mapping[str, bytes | Value] | None = None,
        *,
        deletes: Sequence[str] = (),
        gets: Sequence[str] = (),
        own_key: str | None = None,
        change: SettingsChange = NOTHING_NAMED,
        conditions: Conditions = UNCONDITIONAL,
    ) -> Written:
        values = {
            StateKey(key): value if isinstance(value, Value) else Value(value)
            for key, value in (sets or {}).items()
        }
        write = StateWrite(
            sets=values,
            deletes=tuple(map(StateKey, deletes)),
            gets=tuple(map(StateKey, gets)),
            own_key=None if own_key is None else StateKey(own_key),
            change=change,
        )
        return await self.tier.write_state(self.ref, write, conditions)

    async def delete(self, conditions: Conditions = UNCONDITIONAL) -> None:
        await self.tier.delete(self.ref, conditions)

    async def view(self, reading: Reading = EVERYTHING) -> View:
        view = await self.tier.read(self.ref, reading)
        assert view is not None
        return view

    async def is_absent(self) -> bool:
        return await self.tier.read(self.ref, Reading()) is None

    async def page(self, window: Window) -> Page:
        page = (await self.view(Reading(window=window))).page
        assert page is not None
        return page

    async def texts(self) -> list[str]:
        page = await self.page(Window(limit=1_000_000))
        return [message.data.decode() for message in page.messages]

    async def state(self) -> dict[str, bytes]:
        view = await self.view(Reading(state=StatePart.ALL))
        return {key: stored.value.data for key, stored in view.values.items() if stored}


def tag_of(session: Session | None) -> str:
    assert session is not None
    return str(session.etag)[1:-1]


def matching(*tags: str) -> Conditions:
    return Conditions(if_match=tags)


def not_matching(*tags: str) -> Conditions:
    return Conditions(if_none_match=tags)


@asynccontextmanager
async def open_store(
    url: str, limits: Limits | None = None, defaults: Defaults = DEFAULTS
) -> AsyncIterator[RedisStore]:
    """Give a store with limits or defaults of its own."""
    link = Link(RedisTarget(url=url))
    try:
        yield RedisStore(link, limits or Limits(), defaults)
    finally:
        await link.aclose()


def page_by_hand(messages: Sequence[Message], window: Window) -> Page:
    """Pick a window out of all messages in the obvious way."""
    within = [m for m in messages if _is_within(m, window)]
    chosen = within[-window.limit :] if window.newest else within[: window.limit]
    chosen = chosen if window.limit else []
    return Page(
        messages=tuple(chosen),
        first_seq=messages[0].seq if messages else None,
        last_seq=messages[-1].seq if messages else None,
        has_older=bool(chosen) and chosen[0] != messages[0],
        has_newer=bool(chosen) and chosen[-1] != messages[-1],
    )


def _is_within(message: Message, window: Window) -> bool:
    return (
        (window.after is None or message.seq > window.after)
        and (window.before is None or message.seq < window.before)
        and (window.since_ms is None or message.at_ms >= window.since_ms)
    )
