"""Bodies of requests, parsed into the model; what is wrong is told with a JSON pointer."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

import msgspec

from service.codec import MOST_MEDIA_TYPE_BYTES, digest
from service.errors import BadInput, Fault, TooLarge, escaped
from service.http.call import is_json
from service.http.names import state_key
from service.json_text import (
    check_utf8,
    check_value,
    identity,
    member,
    split_items,
    split_known,
    split_members,
)
from service.model import Append, Limits, SettingsChange, StateKey, StateWrite, Touch, Value

MOST_SECONDS = 315_360_000
MOST_MESSAGES = 1_000_000
NULL = b"null"
RAW_MEMBER = "$raw"

T = TypeVar("T")
Members = dict[str, bytes]

_STEP = Decimal("0.001")
_LINE = re.compile(r"[!-~](?:[ -~]*[!-~])?")

_decimal = msgspec.json.Decoder(Decimal)
_integer = msgspec.json.Decoder(int)
_text = msgspec.json.Decoder(str)


def parse_members(body: bytes, known: tuple[str, ...]) -> Members:
    """Return the members of a JSON object body. Raises BadInput for unknown or repeated ones."""
    check_utf8(body)
    return split_known(body, known)


NULL_IS_NEVER = SettingsChange(ttl_ms=0, max_age_ms=0)
"""What null means in a body that names settings; those that are None here refuse it."""


def parse_settings(members: Members, null: SettingsChange = NULL_IS_NEVER) -> SettingsChange:
    """Parse the settings among members; `null` has what null stands for in each."""
    return SettingsChange(
        ttl_ms=_setting(members, "ttl", _milliseconds, null.ttl_ms),
        touch=_setting(members, "touch", _touch, null.touch),
        max_age_ms=_setting(members, "max_age", _milliseconds, null.max_age_ms),
        max_messages=_setting(members, "max_messages", _max_messages, null.max_messages),
    )


def parse_append(body: bytes, limits: Limits) -> tuple[Append, list[bytes | None]]:
    """Parse messages to append, and the JSON text of each one's dedupe member."""
    members = parse_members(body, ("messages", "dedupe", "ttl", "max_messages"))
    if "messages" not in members:
        raise BadInput("There are no messages.", Fault("/messages", "is missing"))
    messages = split_items(members["messages"], "/messages", most=limits.max_messages_per_call)
    if not messages:
        raise BadInput("There are no messages.", Fault("/messages", "must have at least 1"))
    for index, message in enumerate(messages):
        _check_message(message, f"/messages/{index}", limits)
    dedupe = _dedupe(members["dedupe"]) if "dedupe" in members else ""
    identities = [
        identity(message, dedupe, f"/messages/{index}") if dedupe else None
        for index, message in enumerate(messages)
    ]
    append = Append(
        messages=tuple(messages),
        digests=tuple(digest(known.text) if known else b"" for known in identities),
        dedupe=dedupe,
        change=parse_settings(members),
    )
    return append, [known.raw if known else None for known in identities]


def parse_batch(body: bytes, limits: Limits) -> StateWrite:
    """Parse a state batch."""
    members = parse_members(body, ("get", "set", "ttl"))
    most = limits.max_keys_per_call
    gets = _keys(members["get"], "/get", most) if "get" in members else ()
    changes = split_members(members["set"], "/set", most=most) if "set" in members else {}
    if len(gets) + len(changes) > most:
        raise TooLarge(f"More than {most} keys in a call.", Fault("", "too many"), limit=most)
    sets, deletes = {}, []
    for name, raw in changes.items():
        pointer = f"/set/{escaped(name)}"
        key = state_key(name, pointer)
        if raw == NULL:
            deletes.append(key)
        else:
            sets[key] = _batch_value(raw, pointer, limits)
    return StateWrite(sets=sets, deletes=tuple(deletes), gets=gets, change=parse_settings(members))


def check_json_value(data: bytes, pointer: str, limits: Limits) -> None:
    """Raise unless the text may be kept as a state value."""
    if data.strip() == NULL:
        raise BadInput("null is not a value: delete the key instead.", Fault(pointer, "is null"))
    check_size(data, pointer, limits.max_value_bytes)
    check_value(data, pointer, max_depth=limits.max_json_depth)


def check_size(data: bytes, pointer: str, limit: int) -> None:
    """Raise TooLarge if there are more bytes than the limit."""
    if len(data) > limit:
        reason = f"is {len(data)} bytes"
        raise TooLarge(f"More than {limit} bytes.", Fault(pointer, reason), limit=limit)


def check_media_type(media_type: str, pointer: str) -> None:
    """Raise BadInput if a content type cannot be kept and returned as it is.

    It becomes a line of a header: an end of line in it would let its sender write more of them.
    """
    if len(media_type) > MOST_MEDIA_TYPE_BYTES or not _LINE.fullmatch(media_type):
        reason = f"must be 1 to {MOST_MEDIA_TYPE_BYTES} bytes of ASCII without control characters"
        raise BadInput("The content type cannot be kept.", Fault(pointer, reason))


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


def _milliseconds(raw: bytes, pointer: str) -> int:
    reason = f"must be a number from 0.001 to {MOST_SECONDS} seconds, in steps of 0.001"
    fault = Fault(pointer, reason)
    if raw.startswith(b'"'):
        raise BadInput("Not a number of seconds.", fault)
    try:
        seconds = _decimal.decode(raw)
    except msgspec.MsgspecError:
        raise BadInput("Not a number of seconds.", fault) from None
    # The range first: scaling 1e999999 would be a number of a million digits, and the remainder
    # of 1e-999999999 is rounded to 0, which means never.
    if not _STEP <= seconds <= MOST_SECONDS or seconds % _STEP:
        raise BadInput("A number of seconds is out of range.", fault)
    return int(seconds / _STEP)


def _max_messages(raw: bytes, pointer: str) -> int:
    try:
        number = _integer.decode(raw)
    except msgspec.MsgspecError:
        number = 0
    if not 1 <= number <= MOST_MESSAGES:
        reason = f"must be a whole number from 1 to {MOST_MESSAGES}"
        raise BadInput("max_messages is out of range.", Fault(pointer, reason))
    return number


def _touch(raw: bytes, pointer: str) -> Touch:
    try:
        return Touch(_text.decode(raw))
    except (msgspec.MsgspecError, ValueError):
        reason = f"must be one of: {', '.join(Touch)}"
        raise BadInput("touch is not known.", Fault(pointer, reason)) from None


def _dedupe(raw: bytes) -> str:
    try:
        return state_key(_text.decode(raw), "/dedupe")
    except msgspec.MsgspecError:
        fault = Fault("/dedupe", "must be the name of a member")
        raise BadInput("dedupe names no member.", fault) from None


def _check_message(message: bytes, pointer: str, limits: Limits) -> None:
    if not message.startswith(b"{"):
        raise BadInput("A message is no JSON object.", Fault(pointer, "must be an object"))
    check_size(message, pointer, limits.max_message_bytes)
    check_value(message, pointer, max_depth=limits.max_json_depth)


def _keys(raw: bytes, pointer: str, most: int) -> tuple[StateKey, ...]:
    items = split_items(raw, pointer, most=most)
    try:
        names = [_text.decode(item) for item in items]
    except msgspec.MsgspecError:
        fault = Fault(pointer, "must be a list of text")
        raise BadInput("get is no list of keys.", fault) from None
    checked = [state_key(name, f"{pointer}/{index}") for index, name in enumerate(names)]
    return tuple(dict.fromkeys(checked))


class _RawValue(msgspec.Struct, forbid_unknown_fields=True):
    """Bytes of any content type, as JSON carries them (msgspec reads base64 into bytes)."""

    data: bytes = msgspec.field(name=RAW_MEMBER)
    type: str


_raw_value = msgspec.json.Decoder(_RawValue)


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
