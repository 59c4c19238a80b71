"""Calls of the durable tier, short: what a test does not name is left at its default."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypedDict, Unpack

from msgspec.structs import astuple
from redis import Redis

from service.codec import digest
from service.lines import Columns, Lines, Span
from service.model import (
    Conditions,
    Limits,
    Message,
    Namespace,
    Page,
    Reading,
    Session,
    SessionId,
    SessionRef,
    Snapshot,
    StateKey,
    StatePart,
    Value,
    View,
    Window,
)
from service.sessions import Sessions
from service.store import Defaults, Link, RedisStore, RedisTarget
from service.store.keys import session_keys
from service.writes import (
    Append,
    Appended,
    Configured,
    Cut,
    Idempotency,
    Removal,
    Removed,
    SettingsChange,
    StateDeleted,
    StateWrite,
    Written,
)

DEFAULTS = Defaults(ttl_ms=3_600_000, max_messages=1_000, dedupe_window=512)
EVERYTHING = Reading(window=Window(limit=1_000_000), state=StatePart.ALL)
NOTHING_NAMED = SettingsChange()
UNCONDITIONAL = Conditions()


def ref_of(name: str, namespace: str = "default") -> SessionRef:
    return SessionRef(namespace=Namespace(namespace), id=SessionId(name))


CHAT = ref_of("chat")
NO_COLUMNS = Columns((), (), ())


class Parts(TypedDict, total=False):
    """Parts of a state write beside what it sets."""

    deletes: Sequence[str]
    merges: Mapping[str, bytes]
    gets: Sequence[str]
    key_ttl_ms: int | None
    own_key: str
    change: SettingsChange
    idempotency: Idempotency | None


class Tier(Protocol):
    """What the store and the use cases over it have in common."""

    async def read(self, ref: SessionRef, reading: Reading, /) -> View | None: ...

    async def configure(
        self, ref: SessionRef, change: SettingsChange, conditions: Conditions, *, may_create: bool
    ) -> Configured | None: ...

    async def delete(self, ref: SessionRef, conditions: Conditions) -> object: ...

    async def append(self, ref: SessionRef, append: Append, conditions: Conditions) -> Appended: ...

    async def remove(
        self, ref: SessionRef, removal: Removal, conditions: Conditions
    ) -> Removed | None: ...

    async def write_state(
        self, ref: SessionRef, write: StateWrite, conditions: Conditions
    ) -> Written | None: ...

    async def delete_state(
        self, ref: SessionRef, prefix: str, conditions: Conditions
    ) -> StateDeleted | None: ...


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
        idempotency: Idempotency | None = None,
    ) -> Appended:
        append = messages_of(*texts, change=change, idempotency=idempotency)
        return await self.tier.append(self.ref, append, conditions)

    async def say_once(
        self,
        *ids: str | None,
        member: str = "id",
        change: SettingsChange = NOTHING_NAMED,
        idempotency: Idempotency | None = None,
    ) -> Appended:
        """Append a message for each id, deduped by it; None = a message without an id."""
        append = identified(*ids, member=member, change=change, idempotency=idempotency)
        return await self.tier.append(self.ref, append, UNCONDITIONAL)

    async def replace(
        self,
        *texts: str,
        change: SettingsChange = NOTHING_NAMED,
        conditions: Conditions = UNCONDITIONAL,
    ) -> Appended:
        """Put messages in the place of all."""
        return await self._replace(messages_of(*texts, change=change), conditions)

    async def replace_once(
        self,
        *ids: str | None,
        member: str = "id",
        change: SettingsChange = NOTHING_NAMED,
    ) -> Appended:
        """Put messages, one for each id, in the place of all; they are deduped by it."""
        return await self._replace(identified(*ids, member=member, change=change), UNCONDITIONAL)

    async def _replace(self, append: Append, conditions: Conditions) -> Appended:
        """The store has one call for both, the use cases two."""
        if isinstance(self.tier, Sessions):
            return await self.tier.replace(self.ref, append, conditions)
        assert isinstance(self.tier, RedisStore)
        return await self.tier.append(self.ref, append, conditions, replaces=True)

    async def clear(self, conditions: Conditions = UNCONDITIONAL) -> Removed:
        return await self._remove(Removal(cut=Cut.ALL), conditions)

    async def delete_one(self, seq: int, conditions: Conditions = UNCONDITIONAL) -> Removed:
        return await self._remove(Removal(cut=Cut.ONE, number=seq), conditions)

    async def trim(self, before: int, conditions: Conditions = UNCONDITIONAL) -> Removed:
        return await self._remove(Removal(cut=Cut.BEFORE, number=before), conditions)

    async def pop(
        self,
        count: int,
        *,
        conditions: Conditions = UNCONDITIONAL,
        idempotency: Idempotency | None = None,
    ) -> Removed:
        removal = Removal(cut=Cut.LAST, number=count, idempotency=idempotency)
        return await self._remove(removal, conditions)

    async def _remove(self, removal: Removal, conditions: Conditions) -> Removed:
        done = await self.tier.remove(self.ref, removal, conditions)
        assert done is not None
        return done

    async def write(
        self,
        sets: Mapping[str, bytes | Value] | None = None,
        *,
        conditions: Conditions = UNCONDITIONAL,
        **parts: Unpack[Parts],
    ) -> Written:
        """Write state of a session that is there, or that this call makes."""
        done = await self.tier.write_state(self.ref, writing(sets, **parts), conditions)
        assert done is not None
        return done

    async def delete_state(
        self, prefix: str = "", conditions: Conditions = UNCONDITIONAL
    ) -> StateDeleted:
        done = await self.tier.delete_state(self.ref, prefix, conditions)
        assert done is not None
        return done

    async def delete(self, conditions: Conditions = UNCONDITIONAL) -> None:
        await self.tier.delete(self.ref, conditions)

    async def view(self, reading: Reading = EVERYTHING) -> View:
        view = await self.tier.read(self.ref, reading)
        assert view is not None
        return view

    async def snapshot(self) -> Snapshot:
        assert isinstance(self.tier, RedisStore)
        snapshot = await self.tier.snapshot(self.ref)
        assert snapshot is not None
        return snapshot

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


def messages_of(
    *texts: str,
    change: SettingsChange = NOTHING_NAMED,
    idempotency: Idempotency | None = None,
) -> Append:
    """Messages without identities."""
    messages = tuple(text.encode() for text in texts)
    return Append(
        messages=messages,
        digests=(b"",) * len(messages),
        change=change,
        idempotency=idempotency,
    )


def identified(
    *ids: str | None,
    member: str = "id",
    change: SettingsChange = NOTHING_NAMED,
    idempotency: Idempotency | None = None,
) -> Append:
    """A message for each id; None = one without an id."""
    return Append(
        messages=tuple(str(name).encode() for name in ids),
        digests=tuple(map(digest, ids)),
        dedupe=member,
        change=change,
        idempotency=idempotency,
    )


def writing(sets: Mapping[str, bytes | Value] | None = None, **parts: Unpack[Parts]) -> StateWrite:
    own_key = parts.get("own_key")
    return StateWrite(
        sets={
            StateKey(key): value if isinstance(value, Value) else Value(value)
            for key, value in (sets or {}).items()
        },
        deletes=tuple(map(StateKey, parts.get("deletes", ()))),
        merges={StateKey(key): patch for key, patch in parts.get("merges", {}).items()},
        gets=tuple(map(StateKey, parts.get("gets", ()))),
        key_ttl_ms=parts.get("key_ttl_ms"),
        own_key=None if own_key is None else StateKey(own_key),
        change=parts.get("change", NOTHING_NAMED),
        idempotency=parts.get("idempotency"),
    )


def keyed(key: str = "key", fingerprint: str = "call") -> Idempotency:
    return Idempotency(key.encode(), fingerprint.encode())


def holding(token: str) -> Conditions:
    return Conditions(lease_token=token)


def tag_of(session: Session) -> str:
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
    while window.max_bytes is not None and sum(len(m.data) for m in chosen) > window.max_bytes:
        chosen = chosen[1:]
    return page_of(chosen, messages)


def page_of(chosen: Sequence[Message], messages: Sequence[Message]) -> Page:
    """Return some consecutive of all messages as a page."""
    columns = Columns(*zip(*(astuple(m) for m in chosen), strict=True)) if chosen else NO_COLUMNS
    return Page(
        lines=Lines.of(columns),
        span=Span(0, len(chosen)),
        first_seq=messages[0].seq if messages else None,
        last_seq=messages[-1].seq if messages else None,
    )


class Shown(NamedTuple):
    """What a reader sees of a page."""

    messages: tuple[Message, ...]
    json: bytes
    ends: tuple[int | None, int | None]
    pointers: tuple[int | None, int | None]


def shown(page: Page | None) -> Shown:
    """Return what a page shows, however it is held."""
    assert page is not None
    return Shown(
        page.messages, page.json, (page.first_seq, page.last_seq), (page.prev_seq, page.next_seq)
    )


def _is_within(message: Message, window: Window) -> bool:
    return (
        (window.after is None or message.seq > window.after)
        and (window.before is None or message.seq < window.before)
        and (window.since_ms is None or message.at_ms >= window.since_ms)
    )


def lives(redis: Redis, ref: SessionRef) -> list[int]:
    """Return how long each key of a session lives, in ms, all at the same moment."""
    with redis.pipeline(transaction=True) as pipeline:
        for key in session_keys(ref):
            pipeline.pttl(key)
        found: list[int] = pipeline.execute()
    return found
