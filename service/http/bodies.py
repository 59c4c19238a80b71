"""Bodies of requests, parsed into the model; what is wrong is told with a JSON pointer."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from service.codec import digest
from service.errors import BadInput, Fault, TooLarge, escaped
from service.http import scalars, schemas
from service.http.call import is_json
from service.http.names import session_id_in_body, state_key
from service.http.values import NULL, check_json_value, check_media_type, check_size
from service.json_text import (
    MOST_FAULTS,
    Identity,
    check_utf8,
    check_value,
    identity,
    member,
    split_items,
    split_known,
    split_members,
)
from service.model import Limits, SessionId, StateKey, Touch, Value
from service.vitals import Tier
from service.writes import NO_CHANGE, Append, SettingsChange, StateWrite

RAW_MEMBER = "$raw"

_SETTINGS = frozenset(schemas.member_names(schemas.SessionSettings))

T = TypeVar("T")
Members = dict[str, bytes]

_text = msgspec.json.Decoder(str)


def parse_members(body: bytes, declared: type[msgspec.Struct]) -> Members:
    """Return the members of a body. Raises BadInput for unknown, repeated or missing ones."""
    check_utf8(body)
    members = split_known(body, schemas.member_names(declared))
    missing = [name for name in schemas.required_members(declared) if name not in members]
    if missing:
        faults = (Fault(f"/{name}", "is missing") for name in missing)
        raise BadInput("A member is missing.", *faults)
    return members


NULL_IS_NEVER = SettingsChange(ttl_ms=0, max_age_ms=0)
"""What null means in a body that names settings; those that are None here refuse it."""


def parse_settings(body: bytes) -> SettingsChange:
    """Parse the settings that a session is given; null is never."""
    return _settings(parse_members(body, schemas.SessionSettings), NULL_IS_NEVER)


def parse_settings_patch(body: bytes, defaults: SettingsChange) -> SettingsChange:
    """Parse a merge patch of the settings; null is the default of each."""
    return _settings(parse_members(body, schemas.SettingsPatch), defaults)


def parse_append(body: bytes, limits: Limits) -> tuple[Append, list[bytes | None]]:
    """Parse messages to append, and the JSON text of each one's dedupe member."""
    members = parse_members(body, schemas.AppendBody)
    messages = _messages(members["messages"], limits, limits.max_messages_per_call)
    if not messages:
        raise BadInput("There are no messages.", Fault("/messages", "must have at least 1"))
    append, identities = _append(members, messages)
    return append, [known.raw if known else None for known in identities]


def parse_replace(body: bytes, limits: Limits) -> Append:
    """Parse messages that take the place of all that are there; none may be skipped."""
    members = parse_members(body, schemas.ReplaceBody)
    messages = _messages(members["messages"], limits, schemas.MOST_REPLACED)
    return _append(members, messages)[0]


def parse_batch(body: bytes, limits: Limits) -> StateWrite:
    """Parse a state batch."""
    members = parse_members(body, schemas.StateBatch)
    most = limits.max_keys_per_call
    gets = _keys(members["get"], "/get", most) if "get" in members else ()
    changes = _by_key(members, "set", most)
    merges = _by_key(members, "merge", most)
    if len(gets) + len(changes) + len(merges) > most:
        raise TooLarge(f"More than {most} keys in a call.", Fault("", "too many"), limit=most)
    _check_apart(changes, merges)
    for key, raw in merges.items():
        _check_object(raw, _pointer("merge", key), limits.max_value_bytes, limits)
    return StateWrite(
        sets={
            key: _batch_value(raw, _pointer("set", key), limits)
            for key, raw in changes.items()
            if raw != NULL
        },
        deletes=tuple(key for key, raw in changes.items() if raw == NULL),
        merges=merges,
        gets=gets,
        key_ttl_ms=_key_ttl(members),
        change=_settings(members, NULL_IS_NEVER),
    )


def parse_copy(body: bytes) -> SessionId:
    """Parse the id of the session that a copy makes."""
    raw = parse_members(body, schemas.CopyBody)["to"]
    return session_id_in_body(scalars.text(raw, "/to", "the id of a session"), "/to")


def parse_lease(body: bytes) -> tuple[int, int]:
    """Parse for how many milliseconds a lease is wanted, and how many it may be waited for."""
    members = parse_members(body, schemas.LeaseBody)
    raw = members.get("wait")
    wait_ms = 0 if raw is None else scalars.milliseconds(raw, "/wait", schemas.LEASE_WAIT)
    return _lease_ttl(members), wait_ms


def parse_extension(body: bytes) -> int:
    """Parse how many milliseconds a lease goes on."""
    return _lease_ttl(parse_members(body, schemas.LeaseExtension))


def parse_relief(body: bytes) -> tuple[Tier, bool]:
    """Parse which tier is to be run, and whether only for show."""
    members = parse_members(body, schemas.ReliefBody)
    tier = scalars.one_of(schemas.ReliefTier, members["tier"], "/tier")
    raw = members.get("dry_run")
    return Tier(tier), raw is not None and scalars.switch(raw, "/dry_run")


def parse_trace(body: bytes) -> tuple[float, int]:
    """Parse for how many seconds to trace, and how many places to tell."""
    members = parse_members(body, schemas.TraceBody)
    seconds = members.get("seconds", b"%d" % schemas.TRACE_SECONDS)
    top = members.get("top", b"%d" % schemas.TRACED_PLACES)
    ms = scalars.milliseconds(seconds, "/seconds", schemas.TRACE_TIME)
    return ms / 1_000, scalars.whole_number(top, "/top", schemas.TRACE_TOP)


def _lease_ttl(members: Members) -> int:
    raw = members.get("ttl")
    if raw is None:
        return schemas.LEASE_SECONDS * 1_000
    return scalars.milliseconds(raw, "/ttl", schemas.LEASE_TTL)


def _settings(members: Members, null: SettingsChange) -> SettingsChange:
    """Parse the settings among members; `null` has what null stands for in each."""
    if _SETTINGS.isdisjoint(members):
        return NO_CHANGE
    return SettingsChange(
        ttl_ms=_setting(members, "ttl", _ttl, null.ttl_ms),
        touch=_setting(members, "touch", _touch, null.touch),
        max_age_ms=_setting(members, "max_age", _max_age, null.max_age_ms),
        max_messages=_setting(members, "max_messages", _max_messages, null.max_messages),
    )


def _setting(
    members: Members, name: str, parse: Callable[[bytes, str], T], null: T | None
) -> T | None:
    raw = members.get(name)
    if raw is None:
        return None
    if raw != NULL:
        return parse(raw, f"/{name}")
    if null is None:
        raise BadInput("A setting is null.", Fault(f"/{name}", "cannot be null"))
    return null


def _ttl(raw: bytes, pointer: str) -> int:
    return scalars.milliseconds(raw, pointer, schemas.TTL)


def _max_age(raw: bytes, pointer: str) -> int:
    return scalars.milliseconds(raw, pointer, schemas.MAX_AGE)


def _touch(raw: bytes, pointer: str) -> Touch:
    return scalars.one_of(Touch, raw, pointer)


def _max_messages(raw: bytes, pointer: str) -> int:
    return scalars.whole_number(raw, pointer, schemas.MESSAGES_KEPT)


def _key_ttl(members: Members) -> int | None:
    if "key_ttl" not in members:
        return None
    if "set" not in members:
        raise BadInput("There is nothing to set.", Fault("/key_ttl", "goes with set"))
    return scalars.milliseconds(members["key_ttl"], "/key_ttl", schemas.KEY_TTL)


def _messages(raw: bytes, limits: Limits, most: int) -> list[bytes]:
    messages = split_items(raw, "/messages", most=most)
    for index, message in enumerate(messages):
        _check_object(message, f"/messages/{index}", limits.max_message_bytes, limits)
    return messages


def _append(members: Members, messages: list[bytes]) -> tuple[Append, list[Identity | None]]:
    dedupe = ""
    if "dedupe" in members:
        name = scalars.text(members["dedupe"], "/dedupe", "the name of a member")
        dedupe = state_key(name, "/dedupe")
    identities = _identities(messages, dedupe)
    append = Append(
        messages=tuple(messages),
        digests=tuple([digest(known.text) if known else b"" for known in identities]),
        dedupe=dedupe,
        change=_settings(members, NULL_IS_NEVER),
    )
    return append, identities


def _identities(messages: list[bytes], dedupe: str) -> list[Identity | None]:
    if not dedupe:
        return [None] * len(messages)
    numbered = enumerate(messages)
    return [identity(message, dedupe, f"/messages/{index}") for index, message in numbered]


def _check_object(raw: bytes, pointer: str, most_bytes: int, limits: Limits) -> None:
    if not raw.startswith(b"{"):
        raise BadInput("Expected a JSON object.", Fault(pointer, "must be an object"))
    check_size(raw, pointer, most_bytes)
    check_value(raw, pointer, max_depth=limits.max_json_depth)


def _by_key(members: Members, name: str, most: int) -> dict[StateKey, bytes]:
    if name not in members:
        return {}
    found = split_members(members[name], f"/{name}", most=most)
    return {state_key(key, _pointer(name, key)): raw for key, raw in found.items()}


def _check_apart(changes: dict[StateKey, bytes], merges: dict[StateKey, bytes]) -> None:
    both = [key for key in merges if key in changes]
    if both:
        faults = (Fault(_pointer("merge", key), "is in set too") for key in both[:MOST_FAULTS])
        raise BadInput("A key is either set or merged.", *faults)


def _pointer(name: str, key: str) -> str:
    return f"/{name}/{escaped(key)}"


def _keys(raw: bytes, pointer: str, most: int) -> tuple[StateKey, ...]:
    items = split_items(raw, pointer, most=most)
    try:
        names = [_text.decode(item) for item in items]
    except msgspec.MsgspecError:
        fault = Fault(pointer, "must be a list of text")
        raise BadInput("get is no list of keys.", fault) from None
    checked = [state_key(name, f"{pointer}/{index}") for index, name in enumerate(names)]
    return tuple(dict.fromkeys(checked))


_raw_value = msgspec.json.Decoder(schemas.RawValue)


def _batch_value(raw: bytes, pointer: str, limits: Limits) -> Value:
    """Parse one value of a batch: JSON as it is, or {"$raw": base64, "type": ...} as raw bytes."""
    check_json_value(raw, pointer, limits)
    if member(raw, RAW_MEMBER) is None:
        return Value(raw)
    split_members(raw, pointer, most=limits.max_keys_per_call)  # no name may be there twice
    try:
        sent = _raw_value.decode(raw)
    except msgspec.MsgspecError:
        reason = 'must be {"$raw": base64 text, "type": content type} and nothing else'
        raise BadInput("A raw value cannot be read.", Fault(pointer, reason)) from None
    check_media_type(sent.type, f"{pointer}/type")
    if is_json(sent.type):
        fault = Fault(f"{pointer}/type", "cannot be JSON: give the value as it is")
        raise BadInput("A raw value cannot be JSON.", fault)
    return Value(sent.data, sent.type, is_json=False)
