"""The arguments of the scripts, in the order in which the scripts read them."""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import msgspec

from service.archive import StateCopy
from service.chunks import Sealing
from service.codec import NUMBER_BYTES, pack_number, pack_values, retagged
from service.model import (
    Conditions,
    Limits,
    Reading,
    Session,
    Snapshot,
    StateKey,
    StatePart,
    StoredValue,
)
from service.store.link import Argument
from service.writes import Append, Idempotency, SettingsChange, StateWrite

_GEN_BYTES = 6

GEN, IF_MATCH, IF_NONE_MATCH, LEASE, CALL_KEY = 0, 1, 2, 9, 10
"""Among the arguments of all mutations."""

COMMON = 12
"""So many they have in common."""

REMOVE_ROOM = 14
WRITE_ROOM, WRITE_GETS = 13, 18
"""Among those of `remove.lua` and `write_state.lua`."""

ANY_ROOM = 2**40

_random = Random(secrets.randbits(256))  # noqa: S311 # never the same twice, but no secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Settings of a session that nobody named; 0 ms = never."""

    ttl_ms: int
    max_messages: int
    dedupe_window: int


def mutation_arguments(
    change: SettingsChange,
    conditions: Conditions,
    defaults: Defaults,
    idempotency: Idempotency | None = None,
) -> list[Argument]:
    """Return ARGV[1..12] of `mutation.lua`."""
    return [
        new_gen(),
        _tags(conditions.if_match),
        _tags(conditions.if_none_match),
        defaults.ttl_ms,
        defaults.max_messages,
        _named(change.ttl_ms),
        _named(change.max_messages),
        _named(change.touch),
        _named(change.max_age_ms),
        conditions.lease_token or "",
        idempotency.key if idempotency else "",
        idempotency.fingerprint if idempotency else "",
    ]


def replayed_arguments(name: str, gen: str, args: Sequence[Argument]) -> list[Argument]:
    """Return the arguments of a call of a script as it is to be made again, for `replay.lua`.

    It was judged: it has no conditions, and nobody waits for what it gets.
    """
    again = list(args)
    again[GEN], again[LEASE] = gen, ""
    again[IF_MATCH] = again[IF_NONE_MATCH] = ""
    if name == "remove":
        again[REMOVE_ROOM] = ANY_ROOM
    if name == "write_state":
        again[WRITE_ROOM] = ANY_ROOM
        gets = again[WRITE_GETS]
        assert isinstance(gets, int)
        again[WRITE_GETS] = 0
        del again[len(again) - gets :]
    return again


def remember_arguments(
    gen: str, args: Sequence[Argument], ending: Sequence[object]
) -> list[Argument]:
    """Return the arguments of `remember.lua` for a keyed call that has ended so."""
    common = replayed_arguments("remember", gen, args[:COMMON])
    return [*common, msgspec.msgpack.encode(ending)]


def append_arguments(append: Append, window: int, *, replaces: bool) -> list[Argument]:
    """Return the own ARGV of `append.lua`."""
    args: list[Argument] = [append.dedupe, window, int(replaces)]
    for text, digest in zip(append.messages, append.digests, strict=True):
        args += [text, digest]
    return args


def state_arguments(
    write: StateWrite,
    merged: Mapping[StateKey, StoredValue],
    packed: Mapping[StateKey, bytes],
    room_bytes: int,
) -> list[Argument]:
    """Return the own ARGV of `write_state.lua`; what is merged has the tags of its bases.

    `packed` has all values that are to be set and merged.
    """
    args: list[Argument] = [write.own_key or "", room_bytes, _named(write.key_ttl_ms)]
    args += [len(write.sets), len(merged), len(write.deletes), len(write.gets)]
    for key in (*write.sets, *merged):
        args += [key, packed[key]]
    args += [_base_tag(stored) for stored in merged.values()]
    return [*args, *write.deletes, *write.gets]


def restored_arguments(copy: StateCopy, tag: int, *, replaces: bool) -> list[Argument]:
    """Return the own ARGV of `restore.lua`; all values get a new tag."""
    values = {key: stored.value for key, stored in copy.values.items()}
    args: list[Argument] = [int(replaces), len(values)]
    for key, packed in pack_values(values, tag).items():
        args += [key, packed]
    for key, stored in copy.values.items():
        if stored.expires_at_ms is not None:
            args += [stored.expires_at_ms, key]
    return args


def settings_of(session: Session) -> SettingsChange:
    """Return the change that gives another session the same settings."""
    return SettingsChange(
        ttl_ms=session.ttl_ms or 0,
        touch=session.touch,
        max_age_ms=session.max_age_ms or 0,
        max_messages=session.max_messages,
    )


def snapshot_arguments(snapshot: Snapshot, tag: int) -> list[Argument]:
    """Return the own ARGV of `create.lua`; all values get a new tag."""
    log = snapshot.log
    expiries = snapshot.expiries
    args: list[Argument] = [log.last_seq, log.first_seq, log.newest_seq, log.count]
    args += [log.sealed_seq, log.largest, log.dedupe]
    args += [snapshot.ring, snapshot.session.updated_at_ms]
    args += [len(snapshot.elements), len(snapshot.values), len(expiries), *snapshot.elements]
    for key, stored in snapshot.values.items():
        args += [key, retagged(stored, tag)]
    for key, at_ms in expiries.items():
        args += [at_ms, key]
    return args


TAIL = (256, 262_144)
"""Elements and bytes of what is read at once to be sealed."""


def sealing_arguments(gen: str, sealing: Sealing) -> list[Argument]:
    """Return ARGV of `seal.lua`."""
    return [
        gen,
        sealing.identity,
        sealing.elements,
        sealing.last_seq,
        sealing.chunk,
    ]


def reading_arguments(
    reading: Reading, known: str, most_bytes: int, limits: Limits
) -> list[Argument]:
    """Return ARGV of `read.lua`."""
    window = reading.window
    messages: list[Argument] = ["none", 0, "", "", "", "", ""]
    if window is not None:
        messages = [
            "newest" if window.newest else "oldest",
            window.limit,
            _named(window.after),
            _named(window.before),
            _named(window.since_ms),
            window.digest,
            _named(window.max_bytes),
        ]
    some = reading.keys if reading.state is StatePart.SOME else ()
    args: list[Argument] = [known, most_bytes, *messages, int(reading.is_snapshot)]
    args += [int(reading.renews), reading.state, limits.max_keys_per_call]
    return [*args, *some]


def new_tag() -> int:
    """Return a number that no other write has: what it sets has it as its own ETag."""
    return _random.getrandbits(8 * NUMBER_BYTES) or 1


def new_gen() -> bytes:
    """Return a gen that no session has had."""
    return urlsafe_b64encode(_random.getrandbits(8 * _GEN_BYTES).to_bytes(_GEN_BYTES))


def _base_tag(stored: StoredValue) -> bytes:
    return pack_number(stored.tag) if stored.tag else b""


def _tags(tags: tuple[str, ...] | None) -> str:
    if tags is None:
        return ""
    return "*" if tags == ("*",) else f" {' '.join(tags)} "


def _named(value: str | int | None) -> str | int:
    return "" if value is None else value
