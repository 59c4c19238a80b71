"""What may be done to a session, and what was done. Times are milliseconds."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from service.holds import Hold
from service.model import ETag, Lines, Message, Session, StateKey, StoredValue, Touch, Value


class SettingsChange(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Settings of a session that a call names: None = keep, 0 ms = never."""

    ttl_ms: int | None = None
    touch: Touch | None = None
    max_age_ms: int | None = None
    max_messages: int | None = None


NO_CHANGE = SettingsChange()


class Idempotency(msgspec.Struct, frozen=True, array_like=True):
    """A keyed call: digests of its Idempotency-Key, and of all that makes it the call it is."""

    key: bytes
    fingerprint: bytes


class Append(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Messages to append; `digests` has the 8-byte identity of each, b"" where it has none."""

    messages: tuple[bytes, ...]
    digests: tuple[bytes, ...]
    dedupe: str = ""
    change: SettingsChange = SettingsChange()
    idempotency: Idempotency | None = None


class StateWrite(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Sets, deletes, merges (RFC 7396 patches), then gets; all sets expire after `key_ttl_ms`.

    Conditions mean the value of `own_key` if it is named.
    """

    sets: Mapping[StateKey, Value] = msgspec.field(default_factory=dict)
    deletes: tuple[StateKey, ...] = ()
    merges: Mapping[StateKey, bytes] = msgspec.field(default_factory=dict)
    gets: tuple[StateKey, ...] = ()
    key_ttl_ms: int | None = None
    own_key: StateKey | None = None
    change: SettingsChange = SettingsChange()
    idempotency: Idempotency | None = None


class Cut(StrEnum):
    """Which messages a removal takes: all, one seq, those before a seq, or the newest few.

    EXCESS is the service's own, when Redis fills: what is beyond the newest few, by thousands.
    """

    ALL = "all"
    ONE = "one"
    BEFORE = "before"
    LAST = "last"
    EXCESS = "excess"


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """Messages to remove; `number` is the seq of ONE and BEFORE, the count of LAST and EXCESS."""

    cut: Cut
    number: int = 0
    idempotency: Idempotency | None = None


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What each write tells: the session after it, and Redis's time.

    `replayed_rev` is the revision that the first call led to, if this one is its repetition.
    `tail`: so many messages may stand behind the last chunk of the log. `is_kept`: this process can
    make it good if Redis loses it.
    """

    session: Session
    now_ms: int
    changed: bool
    tail: int
    replayed_rev: int | None = None
    is_kept: bool = False

    @property
    def etag(self) -> ETag:
        """The session's ETag right after the write, or after that which this call repeats."""
        if self.replayed_rev is None:
            return self.session.etag
        return ETag(gen=self.session.etag.gen, rev=self.replayed_rev)


class Deleted(NamedTuple):
    """When a session was deleted, on Redis's clock, and whether a replay would do so too."""

    at_ms: int
    is_kept: bool


class Appended(Done, frozen=True, kw_only=True):
    """What an append did: seqs of what is new and of what is held, indices of what was skipped.

    A repetition does not know what is held.
    """

    count: int
    last_seq: int
    duplicates: tuple[int, ...] = ()
    at_ms: int = 0
    first_seq_held: int | None = None
    last_seq_held: int | None = None

    @property
    def first_seq(self) -> int:
        """The seq of the first message that is new."""
        return self.last_seq - self.count + 1


class Removed(Done, frozen=True, kw_only=True):
    """What a removal took, and the seqs that are left at both ends; lines only of LAST.

    `narrowed` is a chunk that holds more bytes now than messages. Many lines are spoken for by
    `hold`.
    """

    count: int
    first_seq: int | None = None
    last_seq: int | None = None
    lines: Lines = Lines()
    narrowed: bytes = b""
    hold: Hold | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages that were popped, one by one."""
        return tuple(self.lines.messages(0, len(self.lines)))


class Written(Done, frozen=True, kw_only=True):
    """What a state write did; `packed` is what it has set, as Redis holds it, with one tag.

    Large values are spoken for by `hold`.
    """

    added: int
    deleted: int
    tag: int
    packed: Mapping[StateKey, bytes]
    values: Mapping[StateKey, StoredValue | None] = msgspec.field(default_factory=dict)
    hold: Hold | None = None


class Moved(Exception):
    """Nothing was written: `values` are now those that were to be merged into."""

    def __init__(
        self, values: Mapping[StateKey, StoredValue | None], hold: Hold | None = None
    ) -> None:
        """Keep what the merges have to be made of, and what speaks for it if it is much."""
        super().__init__("a value that is merged into was changed")
        self.values = values
        self.hold = hold


class StateDeleted(Done, frozen=True, kw_only=True):
    """How many state keys were deleted."""

    deleted: int


class Configured(Done, frozen=True, kw_only=True):
    """A session after its settings were named, and whether it was made by that."""

    created: bool
