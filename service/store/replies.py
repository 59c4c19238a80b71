"""Replies of the scripts -> model; and the refusals that every script may answer with."""

from collections.abc import Sequence
from typing import Any, NoReturn, TypedDict

from service.codec import Header, session_of, unpack_header, unpack_message, unpack_value
from service.errors import (
    Conflict,
    PreconditionFailed,
    ServiceError,
    TooLarge,
    Unprocessable,
    wrong_lease,
)
from service.model import Limits, Page, Session, SessionRef, StateKey, StoredValue
from service.store.link import Reply

MOST_NAMES = 30_000
"""Of state keys that are listed, as `read.lua` has it."""

MOST_SEARCHED = 20_000
"""Of state keys among which some are deleted by prefix, as `delete_state.lua` has it."""

MOST_REMEMBERED_BYTES = 16_384
"""Of popped messages, if the call has an Idempotency-Key: they are kept with it."""

OWN = 7
"""Where the own part of a reply begins: behind what `reply()` in `session.lua` says of all."""

Values = dict[StateKey, StoredValue | None]


class Fixed(TypedDict):
    """What every write answers: the fields of `Done`."""

    session: Session
    now_ms: int
    changed: bool
    replayed_rev: int | None


def fixed(ref: SessionRef, reply: Reply) -> Fixed:
    """Return what every reply of a write tells."""
    return Fixed(
        session=session(ref, reply),
        now_ms=reply[1],
        changed=bool(reply[5]),
        replayed_rev=reply[6] or None,
    )


def session(ref: SessionRef, reply: Reply) -> Session:
    """Return the session that a reply tells of."""
    return session_of(header(reply), ref.id, reply[3], reply[4])


def header(reply: Reply) -> Header:
    """Return the header of the session that a reply tells of."""
    return unpack_header(reply[2])


def page(window: list[Any]) -> Page:
    """Return the messages of a window."""
    first_seq, last_seq, older, newer, cut, *messages = window
    return Page(
        messages=tuple(unpack_message(message) for message in messages),
        first_seq=first_seq,
        last_seq=last_seq,
        has_older=bool(older),
        has_newer=bool(newer),
        is_cut=bool(cut),
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
            return wrong_lease() if reply[0] == b"wrong_lease" else _key_reused()


def _key_reused() -> Unprocessable:
    words = "This Idempotency-Key was used for another request: take a new one."
    return Unprocessable(words, code="idempotency_key_reused")


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
