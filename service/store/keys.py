"""Names of the keys in Redis.

`b:{namespace:id}m` is the log of a session, `b:{namespace:id}s` its state. All keys of a session
have the same text up to the first `}` that follows the `{`, so Cluster puts them into one slot
whatever characters the id has. A namespace has no colon and a name ends in `}` and one letter:
no two sessions can share a key.
"""

from typing import NamedTuple

from service.model import SessionRef


class SessionKeys(NamedTuple):
    """Both keys of a session, in the order of the scripts' KEYS."""

    log: bytes
    state: bytes


def session_keys(ref: SessionRef) -> SessionKeys:
    """Return the names of a session's keys."""
    stem = f"b:{{{ref.namespace}:{ref.id}}}".encode()
    return SessionKeys(stem + b"m", stem + b"s")
