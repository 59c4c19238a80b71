"""JSON as text: checked, split and compared without ever being changed (RFC 8259).

msgspec finds the bytes of each member (`Raw`) and refuses what is not JSON; what it lets pass and
we do not (invalid UTF-8, members sent twice, depth) is checked here, on the bytes, in C loops.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import msgspec

from service.errors import BadInput, Fault, TooLarge, escaped

T = TypeVar("T")

_any = msgspec.json.Decoder(msgspec.Raw)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_NO_FIELD_NAME = re.compile(r'["\\\x00-\x1f]')  # what msgspec takes in no name of a field
_INTEGER = re.compile(rb"-?[0-9]+")
MOST_FAULTS = 50  # are told, of a kind that a body could have a million times
_CHEAP_ITEMS = 100_000
"""So many are counted after they were split: an item costs about 250 bytes while it lasts."""
# Possessive: it keeps no way back for each escape, of which a body may have millions.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_COMMA = ord(",")
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1, _COMMA: 0}


def check_utf8(text: bytes) -> None:
    """Raise BadInput unless the whole text is UTF-8 (msgspec looks only at what it decodes)."""
    if text.isascii():
        return
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise BadInput(
            "The body is not valid UTF-8.", Fault("", f"invalid byte at offset {error.start}")
        ) from None


def split_known(text: bytes, known: tuple[str, ...]) -> dict[str, bytes]:
    """Return the members of a body as sent. Raises BadInput for unknown or repeated ones."""
    if text.count(b",") >= _CHEAP_ITEMS:
        _decode(_object_of(known), text, "", f"an object of: {', '.join(known)}")
    members = _decode(_members, text, "", "a JSON object")
    unknown = [name for name in members if name not in known]
    if unknown:
        reason = f"known are: {', '.join(known)}"
        faults = [Fault(f"/{escaped(name)}", reason) for name in unknown[:MOST_FAULTS]]
        raise BadInput("A member is not known here.", *faults)
    return _distinct(text, "", members)


def split_members(text: bytes, pointer: str, *, most: int) -> dict[str, bytes]:
    """Return the members of an object as sent, each value as its exact bytes.

    Raises BadInput for what is no JSON object or names a member twice, TooLarge for more than
    `most` members.
    """
    # Told before so many members are split that they would fill the memory.
    if text.count(b",") >= _CHEAP_ITEMS and _has_more_members(text, most):
        raise _too_many(pointer, most)
    members = _decode(_members, text, pointer, "a JSON object")
    if len(members) > most:
        raise _too_many(pointer, most)
    return _distinct(text, pointer, members)


def _distinct(text: bytes, pointer: str, members: Mapping[str, msgspec.Raw]) -> dict[str, bytes]:
    result, colons = {}, len(members)
    for name, value in members.items():
        raw = result[name] = bytes(value)
        colons += name.count(":") + raw.count(b":")
    if _has_repeated_member(text, len(members), colons):
        raise BadInput("A member is given twice.", Fault(pointer, "names must be unique"))
    return result


def split_items(text: bytes, pointer: str, *, most: int) -> list[bytes]:
    """Return the items of an array as sent, each as its exact bytes. Raises as split_members."""
    if text.count(b",") >= _CHEAP_ITEMS:
        _check_item_count(text, pointer, most)
    items = _decode(_items, text, pointer, "a JSON array")
    if len(items) > most:
        raise _too_many(pointer, most)
    return [bytes(item) for item in items]


def check_value(text: bytes, pointer: str, *, max_depth: int) -> None:
    """Raise BadInput if one JSON value nests deeper than `max_depth` arrays and objects."""
    if depth_exceeds(text, max_depth):
        raise BadInput(
            "A value is nested too deeply.", Fault(pointer, f"at most {max_depth} levels")
        )


def check_json(text: bytes, pointer: str = "") -> None:
    """Raise BadInput unless the text is one JSON value."""
    _decode(_any, text, pointer, "a JSON value")


def depth_exceeds(text: bytes, max_depth: int) -> bool:
    """Whether arrays and objects of valid JSON nest deeper than `max_depth`."""
    if text.count(b"[") + text.count(b"{") <= max_depth:
        return False
    brackets = _STRING.sub(b"", text).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > max_depth


class Identity(NamedTuple):
    """What tells a message from others: as it was sent, and as the text that is compared."""

    raw: bytes
    text: str


def member(text: bytes, name: str) -> bytes | None:
    """Return one member of a JSON object, None if it is not there, or the text is no object."""
    if not text.startswith(b"{") or not _may_mention(text, name):
        return None
    if _NO_FIELD_NAME.search(name):
        value = _members.decode(text).get(name)
    else:
        value = _decoder_of(name).decode(text).value
    return bytes(value) if isinstance(value, msgspec.Raw) else None


def identity(message: bytes, name: str, pointer: str) -> Identity | None:
    """Return a message's top-level member `name` if it is text or an integer, else None.

    Raises BadInput if the message names that member twice.
    """
    text = member(message, name)
    if text is None:
        return None
    if _may_repeat(message, name) and _is_repeated(message, name):
        raise BadInput("A message names its dedupe member twice.", Fault(pointer, "must be unique"))
    if text.startswith(b'"'):
        return Identity(text, _text.decode(text))
    return Identity(text, text.decode()) if _INTEGER.fullmatch(text) else None


@lru_cache(maxsize=256)
def _decoder_of(member: str) -> msgspec.json.Decoder[Any]:
    """Return a decoder that keeps one member and passes over all others without making objects."""
    field = ("value", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET)
    return msgspec.json.Decoder(msgspec.defstruct("One", [field], rename={"value": member}))


def _check_item_count(text: bytes, pointer: str, most: int) -> None:
    """Raise TooLarge before so many items of an array are split that they would fill the memory."""
    try:
        _array_of_at_most(most).decode(text)
    except msgspec.ValidationError:
        raise _too_many(pointer, most) from None
    except (msgspec.DecodeError, RecursionError):
        return  # the decoder that splits says what is wrong


def _has_more_members(text: bytes, most: int) -> bool:
    """Whether an object has more than `most` members, at least 1: told by its own commas alone."""
    skeleton = _STRING.sub(b"", text).translate(None, _NOT_STRUCTURE)
    commas = 0
    for byte, depth in zip(skeleton, accumulate(map(_STEP.__getitem__, skeleton)), strict=True):
        commas += depth == 1 and byte == _COMMA
        if commas >= most:
            return True
    return False


@lru_cache(maxsize=16)
def _array_of_at_most(most: int) -> msgspec.json.Decoder[Any]:
    """Return a decoder that refuses a longer array at the first item too many."""
    item = (msgspec.Raw | msgspec.UnsetType, msgspec.UNSET)
    fields = [(f"item{index}", *item) for index in range(most)]
    array = msgspec.defstruct("Array", fields, array_like=True, forbid_unknown_fields=True)
    return msgspec.json.Decoder(array)


@lru_cache(maxsize=64)
def _object_of(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Return a decoder that refuses an object at the first member that is not named."""
    fields = [(name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for name in names]
    return msgspec.json.Decoder(msgspec.defstruct("Object", fields, forbid_unknown_fields=True))


def _too_many(pointer: str, most: int) -> TooLarge:
    return TooLarge(f"More than {most} in one call.", Fault(pointer, "too many"), limit=most)


def _decode(decoder: msgspec.json.Decoder[T], text: bytes, pointer: str, wanted: str) -> T:
    if not text:
        raise BadInput("The body is empty.", Fault(pointer, f"must be {wanted}"))
    try:
        return decoder.decode(text)
    except msgspec.ValidationError:
        raise BadInput(f"Expected {wanted}.", Fault(pointer, f"must be {wanted}")) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput("The body is not valid JSON.", Fault(pointer, _reason(error))) from None
    except RecursionError:
        raise BadInput("The JSON is nested too deeply.", Fault(pointer, "too deep")) from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "a string is not valid UTF-8"
    if "truncated" in str(error):
        return "the text ends early, or a string has a lone surrogate"
    return str(error)


def _has_repeated_member(text: bytes, kept: int, colons: int) -> bool:
    """Whether a decoder that keeps the last of equal names has dropped one, by the colons it kept.

    Each member has one colon of its own; all others are in names or in values. A member that was
    dropped leaves its colon behind. Only a name with an escaped colon could hide that: then the
    members are counted, which takes longer.
    """
    if b"\\" in text and rb"\u003a" in text.lower():
        return kept > 0 and _has_more_members(text, kept)
    return text.count(b":") != colons


def _may_mention(text: bytes, name: str) -> bool:
    """Whether the name stands anywhere in a text, or may in a spelling with escapes."""
    return b"\\" in text or name.encode() in text


def _may_repeat(message: bytes, member: str) -> bool:
    """Whether the name stands there more than once, or may in a spelling with escapes."""
    return b"\\" in message or message.count(f'"{member}"'.encode()) != 1


def _is_repeated(message: bytes, member: str) -> bool:
    """Whether a message names `member` more than once; the slow, certain way."""
    is_repeated = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        # Inner objects are seen first: the last call, the outermost, decides.
        nonlocal is_repeated
        is_repeated = sum(name == member for name, _ in pairs) > 1

    # Its depth was checked: no RecursionError. No numbers are made: they may be of any length.
    json.loads(message, object_pairs_hook=look, parse_int=str, parse_float=str)
    return is_repeated
