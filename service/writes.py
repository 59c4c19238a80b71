"""What may be done to a session, and what was done. Times are milliseconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from service.model import ETag, Message, Session, StateKey, StoredValue, Touch, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChange:
    """Settings of a session that a call names: None = keep, 0 ms = never."""

    ttl_ms: int | None = None
    touch: Touch | None = None
    max_age_ms: int | None = None
    max_messages: int | None = None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A keyed call: digests of its Idempotency-Key, and of all that makes it the call it is."""

    key: bytes
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Messages to append; `digests` has the 8-byte identity of each, b"" where it has none."""

    messages: tuple[bytes, ...]
    digests: tuple[bytes, ...]
    dedupe: str = ""
    change: SettingsChange = SettingsChange()
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateWrite:
    """Sets, deletes, merges (RFC 7396 patches), then gets; all sets expire after `key_ttl_ms`.

    Conditions mean the value of `own_key` if it is named.
    """

    sets: Mapping[StateKey, Value] = field(default_factory=dict)
    deletes: tuple[StateKey, ...] = ()
    merges: Mapping[StateKey, bytes] = field(default_factory=dict)
    gets: tuple[StateKey, ...] = ()
    key_ttl_ms: int | None = None
    own_key: StateKey | None = None
    change: SettingsChange = SettingsChange()
    idempotency: Idempotency | None = None


class Cut(StrEnum):
    """Which messages a removal takes: all, one seq, those before a seq, or the newest few."""

    ALL = "all"
    ONE = "one"
    BEFORE = "before"
    LAST = "last"


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Messages to remove; `number` is the seq of ONE and BEFORE, the count of LAST."""

    cut: Cut
    number: int = 0
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What each write tells: the session after it, and Redis's time.

    `replayed_rev` is the revision that the first call led to, if this one is its repetition.
    """

    session: Session
    now_ms: int
    changed: bool
    replayed_rev: int | None = None

    @property
    def etag(self) -> ETag:
        """The session's ETag right after the write, or after that which this call repeats."""
        if self.replayed_rev is None:
            return self.session.etag
        return ETag(gen=self.session.etag.gen, rev=self.replayed_rev)


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended(Done):
    """What an append did: seqs of what is new and of what is held, indices of what was skipped."""

    count: int
    at_ms: int
    last_seq: int
    first_seq_held: int | None
    last_seq_held: int | None
    duplicates: tuple[int, ...] = ()

    @property
    def first_seq(self) -> int:
        """The seq of the first message that is new."""
        return self.last_seq - self.count + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed(Done):
    """What a removal took, and the seqs that are left at both ends; messages only of LAST."""

    count: int
    first_seq: int | None
    last_seq: int | None
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written(Done):
    """What a state write did; `tag` is that of the values it set."""

    added: int
    deleted: int
    tag: int
    values: Mapping[StateKey, StoredValue | None] = field(default_factory=dict)


class Moved(Exception):
    """Nothing was written: `values` are now those that were to be merged into."""

    def __init__(self, values: Mapping[StateKey, StoredValue | None]) -> None:
        """Keep what the merges have to be made of."""
        super().__init__("a value that is merged into was changed")
        self.values = values


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDeleted(Done):
    """How many state keys were deleted."""

    deleted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured(Done):
    """A session after its settings were named, and whether it was made by that."""

    created: bool
