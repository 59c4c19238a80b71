"""Numbers and words of bodies and queries: parsed exactly, within the range that is declared."""

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

import msgspec

from service.errors import BadInput, Fault

E = TypeVar("E", bound=StrEnum)

_STEP = Decimal("0.001")
_DIGITS = re.compile("[0-9]{1,15}")

_decimal = msgspec.json.Decoder(Decimal)
_integer = msgspec.json.Decoder(int)
_text = msgspec.json.Decoder(str)
_boolean = msgspec.json.Decoder(bool)


def milliseconds(raw: bytes, pointer: str, declared: msgspec.Meta) -> int:
    """Parse seconds in steps of 0.001."""
    reason = f"must be a number from {declared.ge} to {declared.le} seconds, in steps of 0.001"
    fault = Fault(pointer, reason)
    if raw.startswith(b'"') or raw != raw.strip():
        raise BadInput("Not a number of seconds.", fault)
    try:
        seconds = _decimal.decode(raw)
    except msgspec.MsgspecError:
        raise BadInput("Not a number of seconds.", fault) from None
    # The range first: scaling 1e999999 would be a number of a million digits. Less than a step by
    # itself: the remainder of 1e-999999999 is rounded to 0.
    is_within = _decimal_of(declared.ge) <= seconds <= _decimal_of(declared.le)
    if not is_within or 0 < seconds < _STEP or seconds % _STEP:
        raise BadInput("A number of seconds is out of range.", fault)
    return int(seconds / _STEP)


def whole_number(raw: bytes, pointer: str, declared: msgspec.Meta) -> int:
    """Parse a whole number of a body."""
    try:
        number = _integer.decode(raw)
    except msgspec.MsgspecError:
        number = None
    if number is None or not _is_within(number, declared):
        reason = f"must be a whole number from {declared.ge} to {declared.le}"
        raise BadInput(f"{pointer[1:]} is out of range.", Fault(pointer, reason))
    return number


def switch(raw: bytes, pointer: str) -> bool:
    """Parse true or false."""
    try:
        return _boolean.decode(raw)
    except msgspec.MsgspecError:
        raise BadInput("Expected true or false.", Fault(pointer, "must be true or false")) from None


def one_of(kind: type[E], raw: bytes, pointer: str) -> E:
    """Parse one of the words of an enumeration."""
    try:
        return kind(_text.decode(raw))
    except (msgspec.MsgspecError, ValueError):
        reason = f"must be one of: {', '.join(kind)}"
        raise BadInput(f"{pointer[1:]} is not known.", Fault(pointer, reason)) from None


def text(raw: bytes, pointer: str, wanted: str) -> str:
    """Parse a string; `wanted` says what it has to be."""
    try:
        return _text.decode(raw)
    except msgspec.MsgspecError:
        raise BadInput(f"Expected {wanted}.", Fault(pointer, f"must be {wanted}")) from None


def parameter(query: Mapping[str, str], name: str, declared: msgspec.Meta) -> int:
    """Parse a parameter of a query that is a whole number."""
    digits = query[name]
    if not (_DIGITS.fullmatch(digits) and _is_within(int(digits), declared)):
        reason = f"must be a whole number from {declared.ge} to {declared.le}"
        raise BadInput("A query parameter is out of range.", Fault(f"/query/{name}", reason))
    return int(digits)


def _is_within(number: int, declared: msgspec.Meta) -> bool:
    assert declared.ge is not None
    assert declared.le is not None
    return declared.ge <= number <= declared.le


def _decimal_of(bound: float | None) -> Decimal:
    """Return a bound as it is written: 0.001 as a float is a little more than that."""
    return Decimal(str(bound))
