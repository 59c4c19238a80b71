"""The nouns of the service. Times are milliseconds since 1970 unless a name says otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

import msgspec
from msgspec.structs import replace

from service.holds import Hold
from service.lines import Lines, Message, Span, Window

__all__ = ["Lines", "Message", "Span", "Window"]

Namespace = NewType("Namespace", str)
SessionId = NewType("SessionId", str)
StateKey = NewType("StateKey", str)


class SessionRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A session's full name: ids of two namespaces never meet."""

    namespace: Namespace
    id: SessionId


class Touch(StrEnum):
    """What renews the expiry of a session."""

    WRITE = "write"
    ACCESS = "access"
    NEVER = "never"


class ETag(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """A revision that no other can be mistaken for: `gen` is random at a session's creation."""

    gen: str
    rev: int

    def __str__(self) -> str:
        """The entity-tag of RFC 9110, quotes included."""
        return f'"{self.gen}-{self.rev}"'


class Session(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """One conversation, login or chat, without its contents."""

    id: SessionId
    etag: ETag
    created_at_ms: int
    updated_at_ms: int
    renewed_at_ms: int
    ttl_ms: int | None
    touch: Touch
    max_age_ms: int | None
    max_messages: int
    message_count: int
    state_key_count: int
    has_expiring_keys: bool = False

    @property
    def expires_at_ms(self) -> int | None:
        """The earlier of sliding expiry and absolute cap; None = never."""
        ends = []
        if self.ttl_ms is not None:
            ends.append(self.renewed_at_ms + self.ttl_ms)
        if self.max_age_ms is not None:
            ends.append(self.created_at_ms + self.max_age_ms)
        return min(ends, default=None)


JSON_TYPE = "application/json"


class Value(msgspec.Struct, frozen=True, array_like=True):
    """A state value as it was sent: its bytes, its exact media type, and whether they are JSON."""

    data: bytes
    media_type: str = JSON_TYPE
    is_json: bool = True


class StoredValue(msgspec.Struct, frozen=True):
    """A state value, the number of the write that set it (its own ETag), its expiry if it has one.

    The number is random, 48 bits: who writes knows it before Redis does.
    """

    value: Value
    tag: int
    expires_at_ms: int | None = None

    def has_expired(self, now_ms: int) -> bool:
        """Whether its own expiry has passed at a time of Redis."""
        return self.expires_at_ms is not None and self.expires_at_ms <= now_ms


ANY = "*"


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """If-Match and If-None-Match (RFC 9110, 13.1): tags without quotes, (ANY,), None = not sent.

    `lease_token`: the lease that has to be the current one; None = none is claimed.
    """

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    lease_token: str | None = None

    def has_match(self, current: ETag | None) -> bool:
        """Whether If-Match, if it was sent, lists what is there."""
        return self.if_match is None or _is_listed(self.if_match, current)

    def has_no_match(self, current: ETag | None) -> bool:
        """Whether If-None-Match, if it was sent, does not list what is there."""
        return self.if_none_match is None or not _is_listed(self.if_none_match, current)


def _is_listed(tags: tuple[str, ...], current: ETag | None) -> bool:
    return current is not None and (tags == (ANY,) or str(current)[1:-1] in tags)


class StatePart(StrEnum):
    """How much of a session's state to read."""

    NONE = "none"
    NAMES = "names"
    ALL = "all"
    SOME = "some"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What to read of a session: messages of a window, and a part of the state.

    A snapshot may have any number of state keys, and brings what the messages are identified by.
    `renews`: it is a use of the session. `finds_backup`: of a session that is not there it tells
    whether there is a backup in the same Redis.
    """

    window: Window | None = None
    state: StatePart = StatePart.NONE
    keys: tuple[StateKey, ...] = ()
    is_snapshot: bool = False
    renews: bool = True
    finds_backup: bool = False


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader accepts (RFC 9111, 5.2.1; RFC 5861, 4)."""

    no_cache: bool = False
    stale_if_error_seconds: float | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of a window; first_seq and last_seq are the oldest and newest of the session.

    `is_cut`: more are meant, but they would pass the limit of an answer.
    """

    lines: Lines = Lines()
    span: Span = Span(0, 0)
    first_seq: int | None = None
    last_seq: int | None = None
    is_cut: bool = False

    @property
    def count(self) -> int:
        """How many messages are on the page."""
        return self.span.end - self.span.start

    @property
    def json(self) -> bytes:
        """The messages as an answer has them, with commas between."""
        return self.lines.json(*self.span)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages, one by one."""
        return tuple(self.lines.messages(*self.span))

    @property
    def prev_seq(self) -> int | None:
        """The seq of the page's first message, if there are older ones."""
        first = self.lines.seqs[self.span.start] if self.count else None
        return first if first != self.first_seq else None

    @property
    def next_seq(self) -> int | None:
        """The seq of the page's last message, if there are newer ones."""
        last = self.lines.seqs[self.span.end - 1] if self.count else None
        return last if last != self.last_seq else None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a session, and Redis's time when it was; `names` with the expiry of each.

    `elements` are those of the log in Redis that the page was made of, `packed` the values as Redis
    holds them. What came in parts is spoken for by `hold`.
    """

    session: Session
    now_ms: int
    page: Page | None = None
    elements: tuple[bytes, ...] = ()
    names: Mapping[StateKey, int | None] = msgspec.field(default_factory=dict)
    values: Mapping[StateKey, StoredValue | None] = msgspec.field(default_factory=dict)
    packed: Mapping[StateKey, bytes] = msgspec.field(default_factory=dict)
    is_same: bool = False
    age_seconds: float | None = None
    hold: Hold | None = None

    def without_expired(self, part: StatePart) -> "View":
        """Return this view of a part of the state without keys that have expired by `now_ms`."""
        gone = {key for key, v in self.values.items() if v and v.has_expired(self.now_ms)}
        gone |= {key for key, ends in self.names.items() if ends and ends <= self.now_ms}
        if not gone:
            return self
        if part is StatePart.SOME:
            kept = {key: None if key in gone else v for key, v in self.values.items()}
            return replace(self, values=kept)
        names = {key: ends for key, ends in self.names.items() if key not in gone}
        kept = {key: v for key, v in self.values.items() if key not in gone}
        return replace(self, names=names, values=kept)


class LogFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a session tells of its log as it lies in Redis (session.lua).

    `largest`: bytes that no element passes.
    """

    last_seq: int
    first_seq: int
    newest_seq: int
    count: int
    sealed_seq: int
    largest: int
    dedupe: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A whole session as it was at one revision, with what identifies its messages.

    Elements and values are as Redis holds them; `expiries` are of the values that have one.
    """

    session: Session
    elements: tuple[bytes, ...]
    values: Mapping[StateKey, bytes]
    expiries: Mapping[StateKey, int]
    log: LogFacts
    ring: bytes
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """An advisory lock on a session's id; who holds `token` holds it until it expires."""

    token: str = field(repr=False)
    expires_at_ms: int


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A page of sessions in no order; `next` leads to the next page, None at the end."""

    sessions: tuple[Session, ...]
    next: str | None


class TlsVerify(StrEnum):
    """How far the certificate of a `rediss://` server is trusted."""

    AUTO = "auto"
    FULL = "full"
    CA = "ca"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may hold; the defaults are those of the contract and of settings.toml."""

    max_body_bytes: int = 16_777_216
    max_message_bytes: int = 1_048_576
    max_value_bytes: int = 4_194_304
    max_messages_per_call: int = 500
    max_keys_per_call: int = 5_000
    max_answer_bytes: int = 16_777_216
    max_json_depth: int = 128
    max_header_bytes: int = 65_536
    max_header_lines: int = 100
