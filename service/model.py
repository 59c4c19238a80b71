"""The nouns of the service. Times are milliseconds since 1970 unless a name says otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """A state value and the revision of the session that set it, which is its own ETag."""

    value: Value
    rev: int


@dataclass(frozen=True, slots=True)
class Message:
    """One line of a session's log: `data` is the JSON text as it was sent."""

    seq: int
    at_ms: int
    data: bytes


ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """If-Match and If-None-Match (RFC 9110, 13.1): tags without quotes, (ANY,), None = not sent."""

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None

    def has_match(self, current: ETag | None) -> bool:
        """Whether If-Match, if it was sent, lists what is there."""
        return self.if_match is None or _is_listed(self.if_match, current)

    def has_no_match(self, current: ETag | None) -> bool:
        """Whether If-None-Match, if it was sent, does not list what is there."""
        return self.if_none_match is None or not _is_listed(self.if_none_match, current)


def _is_listed(tags: tuple[str, ...], current: ETag | None) -> bool:
    return current is not None and (tags == (ANY,) or str(current)[1:-1] in tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChange:
    """Settings of a session that a call names: None = keep, 0 ms = never."""

    ttl_ms: int | None = None
    touch: Touch | None = None
    max_age_ms: int | None = None
    max_messages: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which messages to read: at most `limit` from one end of the seqs and times within bounds."""

    limit: int
    newest: bool = True
    after: int | None = None
    before: int | None = None
    since_ms: int | None = None


class StatePart(StrEnum):
    """How much of a session's state to read."""

    NONE = "none"
    NAMES = "names"
    ALL = "all"
    SOME = "some"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What to read of a session: messages of a window, and a part of the state."""

    window: Window | None = None
    state: StatePart = StatePart.NONE
    keys: tuple[StateKey, ...] = ()


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
    """What was read of a session, and Redis's time when it was."""

    session: Session
    now_ms: int
    page: Page | None = None
    names: tuple[StateKey, ...] = ()
    values: Mapping[StateKey, StoredValue | None] = field(default_factory=dict)
    is_same: bool = False
    age_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Messages to append; `digests` has the 8-byte identity of each, b"" where it has none."""

    messages: tuple[bytes, ...]
    digests: tuple[bytes, ...]
    dedupe: str = ""
    change: SettingsChange = SettingsChange()


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What an append did: seqs of what is new, indices of what was skipped."""

    session: Session
    now_ms: int
    changed: bool
    count: int
    at_ms: int
    last_seq: int
    first_seq_held: int | None
    duplicates: tuple[int, ...]

    @property
    def first_seq(self) -> int:
        """The seq of the first message that is new."""
        return self.last_seq - self.count + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StateWrite:
    """Sets, then deletes, then gets; conditions mean `own_key`'s value if it is named."""

    sets: Mapping[StateKey, Value] = field(default_factory=dict)
    deletes: tuple[StateKey, ...] = ()
    gets: tuple[StateKey, ...] = ()
    own_key: StateKey | None = None
    change: SettingsChange = SettingsChange()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a state write did; `session` is None if there is none and nothing was to be set."""

    session: Session | None
    now_ms: int
    changed: bool
    added: int
    deleted: int
    values: Mapping[StateKey, StoredValue | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """A session after its settings were named, and whether it was made by that."""

    session: Session
    now_ms: int
    changed: bool
    created: bool


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
