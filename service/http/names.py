"""Ids and state keys: parsed where they enter, never normalised or folded."""

import re
from urllib.parse import unquote_to_bytes

from service.errors import BadInput, Fault
from service.model import SessionId, StateKey

MOST_ID_BYTES = 256
MOST_KEY_BYTES = 512

_CONTROL = re.compile("[\x00-\x1f\x7f]")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def session_id(segment: bytes) -> SessionId:
    """Parse the path segment of a session."""
    pointer = "/path/id"
    return SessionId(_checked(_decoded(segment, pointer), pointer, MOST_ID_BYTES))


def state_key_in_path(segment: bytes) -> StateKey:
    """Parse the path segment of a state key."""
    pointer = "/path/key"
    return StateKey(_checked(_decoded(segment, pointer), pointer, MOST_KEY_BYTES))


def state_key(text: str, pointer: str) -> StateKey:
    """Check a state key that came in a body or a query."""
    return StateKey(_checked(text, pointer, MOST_KEY_BYTES))


def _decoded(raw: bytes, pointer: str) -> str:
    """Decode one segment; dots are refused, because clients and proxies resolve them away."""
    if _BROKEN_ESCAPE.search(raw):
        raise BadInput("The path has a broken % escape.", Fault(pointer, "% needs two hex digits"))
    try:
        text = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadInput("The path is not UTF-8.", Fault(pointer, "must be UTF-8")) from None
    if text in {".", ".."}:
        raise BadInput("A name in a path cannot be . or ..", Fault(pointer, "cannot be . or .."))
    return text


def _checked(text: str, pointer: str, most_bytes: int) -> str:
    if not 1 <= len(text.encode()) <= most_bytes:
        reason = f"must be 1 to {most_bytes} bytes of UTF-8"
        raise BadInput("A name is empty or too long.", Fault(pointer, reason))
    if _CONTROL.search(text):
        raise BadInput("A name has control characters.", Fault(pointer, "no control characters"))
    return text
