"""Replies of the scripts -> model; and the refusals that every script may answer with."""

from collections.abc import Sequence
from typing import NamedTuple, NoReturn, TypedDict

from service.codec import session_of, unpack_header, unpack_value
from service.errors import (
    Conflict,
    PreconditionFailed,
    ServiceError,
    TooLarge,
    key_reused,
    wrong_lease,
)
from service.model import Limits, Session, SessionRef, StateKey, StoredValue
from service.store.link import Reply

MOST_NAMES = 30_000
"""Of state keys that are listed, as `read.lua` has it."""

MOST_SEARCHED = 20_000
"""Of state keys among which some are deleted by prefix, as `delete_state.lua` has it."""

MOST_REMEMBERED_BYTES = 16_384
"""Of popped messages, if the call has an Idempotency-Key: they are kept with it."""

OWN = 6
"""Where the own part of a reply begins: behind what `reply()` in `session.lua` says of all."""

Values = dict[StateKey, StoredValue | None]


class Answer(NamedTuple):
    """A reply of a script, and whether what it has done is kept for a replay."""

    reply: Reply
    is_kept: bool


class Fixed(TypedDict):
    """What every write answers: the fields of `Done`."""

    session: Session
    now_ms: int
    changed: bool
    tail: int
    replayed_rev: int | None
    is_kept: bool


def fixed(ref: SessionRef, reply: Reply, is_kept: bool) -> Fixed:  # noqa: FBT001 # told by position
    """Return what every reply of a write tells, and whether it is kept for a replay."""
    header = unpack_header(reply[2])
    return Fixed(
        session=session_of(header, ref.id, reply[3]),
        now_ms=reply[1],
        changed=bool(reply[4]),
        tail=header.tail,
        replayed_rev=reply[5] or None,
        is_kept=is_kept,
    )


def expiries(pairs: Sequence[bytes | int]) -> dict[StateKey, int]:
    """Return when state keys expire, of those that do by themselves: key, ms, key, ms, ..."""
    keys, ends = pairs[::2], pairs[1::2]
    return {state_key(key): int(at_ms) for key, at_ms in zip(keys, ends, strict=True)}


def values(
    keys: Sequence[StateKey], stored: Sequence[bytes | None], ends: dict[StateKey, int]
) -> Values:
    """Return values by key, None where there is none."""
    pairs = zip(keys, stored, strict=True)
    return {key: None if v is None else unpack_value(v, ends.get(key)) for key, v in pairs}


def alive(values: Values, now_ms: int) -> Values:
    """Return values with None for those whose time is over."""
    return {key: None if v and v.has_expired(now_ms) else v for key, v in values.items()}


def state_key(name: object) -> StateKey:
    """Return a state key that Redis answered."""
    assert isinstance(name, bytes)
    return StateKey(name.decode())


def raise_refusal(reply: Reply, limits: Limits) -> NoReturn:
    """Raise what a script refused the call with: {outcome, detail, is it a repetition}."""
    error = _refusal(reply, limits)
    error.is_replayed = len(reply) > 2 and bool(reply[2])  # noqa: PLR2004 # the third of three
    raise error


REFUSALS = frozenset(
    (b"precondition", b"too_large", b"too_many", b"conflict", b"exists", b"reused", b"wrong_lease")
)


def _refusal(reply: Reply, limits: Limits) -> ServiceError:
    match reply[0]:
        case b"precondition":
            tag = reply[1].decode()
            words = "The condition does not hold for what is there now."
            return PreconditionFailed(words, etag=f'"{tag}"' if tag else None)
        case b"too_large":
            return too_large(reply[1], limits)
        case b"too_many":
            words = f"The session keeps {reply[1]} messages: give no more, or raise max_messages."
            return TooLarge(words, limit=reply[1])
        case b"conflict":
            words = f"This session identifies its messages by {reply[1].decode()!r}."
            return Conflict(words, code="dedupe_mismatch")
        case b"exists":
            return Conflict("There is a session of that id.", code="session_exists")
        case _:
            return wrong_lease() if reply[0] == b"wrong_lease" else key_reused()


def too_large(what: bytes, limits: Limits) -> TooLarge:
    """Return the error of an answer, or of a look through the keys, that would be too much."""
    if what == b"keys":
        limit = limits.max_keys_per_call
        return TooLarge(f"More than {limit} state keys: list them in pages.", limit=limit)
    if what == b"names":
        words = f"More than {MOST_NAMES} state keys cannot be listed: read them by name."
        return TooLarge(words, limit=MOST_NAMES)
    if what == b"prefix":
        words = f"More than {MOST_SEARCHED} state keys: delete them by name, or all of them."
        return TooLarge(words, limit=MOST_SEARCHED)
    if what == b"remembered":
        most = MOST_REMEMBERED_BYTES
        words = f"With an Idempotency-Key up to {most} bytes are popped: ask for less."
        return TooLarge(words, limit=most)
    limit = limits.max_answer_bytes
    return TooLarge(f"The answer would pass {limit} bytes: ask for less.", limit=limit)
