"""The nouns of the service. Times are milliseconds since 1970 unless a name says otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NewType

Namespace = NewType("Namespace", str)
SessionId = NewType("SessionId", str)
StateKey = NewType("StateKey", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRef:
    """A session's full name: ids of two namespaces never meet."""

    namespace: Namespace
    id: SessionId


class Touch(StrEnum):
    """What renews the expiry of a session."""

    WRITE = "write"
    ACCESS = "access"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class ETag:
    """A revision that no other can be mistaken for: `gen` is random at a session's creation."""

    gen: str
    rev: int

    def __str__(self) -> str:
        """The entity-tag of RFC 9110, quotes included."""
        return f'"{self.gen}-{self.rev}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
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


@dataclass(frozen=True, slots=True)
class Value:
    """A state value as it was sent: its bytes, its exact media type, and whether they are JSON."""

    data: bytes
    media_type: str = JSON_TYPE
    is_json: bool = True


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A state value, the number of the write that set it (its own ETag), its expiry if it has one.

    The number is random, 48 bits: who writes knows it before Redis does.
    """

    value: Value
    tag: int
    expires_at_ms: int | None = None

    def has_expired(self, now_ms: int) -> bool:
        """Whether its own expiry has passed at a time of Redis."""
        return self.expires_at_ms is not None and self.expires_at_ms <= now_ms


@dataclass(frozen=True, slots=True)
class Message:
    """One line of a session's log: `data` is the JSON text as it was sent."""

    seq: int
    at_ms: int
    data: bytes


ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which messages to read: at most `limit` from one end of the seqs and times within bounds.

    Of those only the newest whose JSON texts together have at most `max_bytes`. With `digest` at
    most one message is let in: the newest that is remembered under that identity.
    """

    limit: int
    newest: bool = True
    after: int | None = None
    before: int | None = None
    since_ms: int | None = None
    digest: bytes = b""
    max_bytes: int | None = None


class StatePart(StrEnum):
    """How much of a session's state to read."""

    NONE = "none"
    NAMES = "names"
    ALL = "all"
    SOME = "some"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What to read of a session: messages of a window, and a part of the state.

    A snapshot may have any number of state keys, and brings what the messages are identified by.
    """

    window: Window | None = None
    state: StatePart = StatePart.NONE
    keys: tuple[StateKey, ...] = ()
    is_snapshot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """What a reader accepts (RFC 9111, 5.2.1; RFC 5861, 4)."""

    no_cache: bool = False
    stale_if_error_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Messages of a window; first_seq and last_seq are the oldest and newest of the session."""

    messages: tuple[Message, ...] = ()
    first_seq: int | None = None
    last_seq: int | None = None
    has_older: bool = False
    has_newer: bool = False
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What was read of a session, and Redis's time when it was; `names` with the expiry of each."""

    session: Session
    now_ms: int
    page: Page | None = None
    names: Mapping[StateKey, int | None] = field(default_factory=dict)
    values: Mapping[StateKey, StoredValue | None] = field(default_factory=dict)
    is_same: bool = False
    age_seconds: float | None = None

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A whole session as it was at one revision, with what identifies its messages."""

    session: Session
    messages: tuple[Message, ...]
    values: Mapping[StateKey, StoredValue]
    last_seq: int
    dedupe: str
    ring: bytes


@dataclass(frozen=True, slots=True)
class Lease:
    """An advisory lock on a session's id; who holds `token` holds it until it expires."""

    token: str = field(repr=False)
    expires_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
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
