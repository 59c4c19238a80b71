"""Ids and state keys: parsed where they enter, never normalised or folded."""

import re
from urllib.parse import unquote_to_bytes

from service.errors import BadInput, Fault
from service.model import SessionId, StateKey

MOST_ID_BYTES = 256
MOST_KEY_BYTES = 512
MOST_SEQ = 2**48 - 1

_CONTROL = re.compile("[\x00-\x1f\x7f]")
_SEQ = re.compile("[0-9]{1,15}")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def session_id(segment: bytes) -> SessionId:
    """Parse the path segment of a session."""
    pointer = "/path/id"
    return SessionId(_checked(_decoded(segment, pointer), pointer, MOST_ID_BYTES))


def state_key_in_path(segment: bytes) -> StateKey:
    """Parse the path segment of a state key."""
    pointer = "/path/key"
    return StateKey(_checked(_decoded(segment, pointer), pointer, MOST_KEY_BYTES))


def seq_in_path(segment: bytes) -> int:
    """Parse the path segment of a message's seq."""
    pointer = "/path/seq"
    text = _decoded(segment, pointer)
    if not (_SEQ.fullmatch(text) and 1 <= int(text) <= MOST_SEQ):
        fault = Fault(pointer, f"must be a whole number from 1 to {MOST_SEQ}")
        raise BadInput("The path names no seq.", fault)
    return int(text)


def session_id_in_body(text: str, pointer: str) -> SessionId:
    """Check an id that came in a body: it has to be one that a path can name."""
    return SessionId(_checked(_without_dots(text, pointer), pointer, MOST_ID_BYTES))


def state_key(text: str, pointer: str) -> StateKey:
    """Check a state key that came in a body or a query."""
    return StateKey(_checked(text, pointer, MOST_KEY_BYTES))


def _decoded(raw: bytes, pointer: str) -> str:
    """Decode one segment."""
    if b"%" in raw:
        if _BROKEN_ESCAPE.search(raw):
            fault = Fault(pointer, "% needs two hex digits")
            raise BadInput("The path has a broken % escape.", fault)
        raw = unquote_to_bytes(raw)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise BadInput("The path is not UTF-8.", Fault(pointer, "must be UTF-8")) from None
    return _without_dots(text, pointer)


def _without_dots(text: str, pointer: str) -> str:
    """Refuse the names that clients and proxies resolve away in a path."""
    if text in {".", ".."}:
        raise BadInput("A name in a path cannot be . or ..", Fault(pointer, "cannot be . or .."))
    return text


def _checked(text: str, pointer: str, most_bytes: int) -> str:
    size = len(text) if text.isascii() else len(text.encode())
    if not 1 <= size <= most_bytes:
        reason = f"must be 1 to {most_bytes} bytes of UTF-8"
        raise BadInput("A name is empty or too long.", Fault(pointer, reason))
    if not text.isprintable() and _CONTROL.search(text):
        raise BadInput("A name has control characters.", Fault(pointer, "no control characters"))
    return text
