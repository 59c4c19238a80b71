"""Names of the keys in Redis.

`b:{namespace:id}m` is the log of a session, `b:{namespace:id}s` its state, `b:{namespace:id}x` the
expiries of state keys that have one of their own; `b:{namespace:id}l` is the lease of the id, which
needs no session, `b:{namespace:id}b` the backup of its state, which outlives it. While a Redis that
has lost its memory is given it again, `b:{namespace:id}r` holds writes of several processes, and
`b:{namespace:id}d` gens that were deleted. All have the same
text up to the first `}` that follows the `{`, so Cluster puts them into one slot whatever
characters the id has. A namespace has no colon and a name ends in `}` and one letter: no two
sessions can share a key.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from service.model import Namespace, SessionId, SessionRef

PREFIX = b"b:{"
"""Of all keys of all sessions, and of no other key of the service."""

ANY_LOG = PREFIX + b"*}m"
"""The glob that the logs of all sessions match."""

EPOCH, PROCESSES, NEWS = b"b:~{processes}e", b"b:~{processes}p", PREFIX + b"processes}n"
"""What the processes of a Redis know each other by (store/replay); they are no session's."""

_ENDS, _END_BYTES = (b"}m", b"}s", b"}x"), 2
_GLOB = re.compile(r"[*?\[\]\\]")


class SessionKeys(NamedTuple):
    """All keys of a session, in the order of the scripts' KEYS; lease and backup are none."""

    log: bytes
    state: bytes
    expiries: bytes


def session_keys(ref: SessionRef) -> SessionKeys:
    """Return the names of a session's keys."""
    stem = _stem(ref)
    return SessionKeys(stem + b"m", stem + b"s", stem + b"x")


def lease_key(ref: SessionRef) -> bytes:
    """Return the name of the key that holds the lease of a session's id."""
    return _stem(ref) + b"l"


def gone_key(ref: SessionRef) -> bytes:
    """Return the name of the key that holds which gens of a session's id were deleted."""
    return _stem(ref) + b"d"


def staged_key(ref: SessionRef) -> bytes:
    """Return the name of the key in which processes put together what they know of a session."""
    return _stem(ref) + b"r"


def round_key(name: str) -> bytes:
    """Return the name of the key in which processes tell how far they are with a replay."""
    return b"b:~{processes}r:" + name.encode()


def backup_key(ref: SessionRef) -> bytes:
    """Return the name of the key that holds the backup of a session's state."""
    return _stem(ref) + b"b"


def _stem(ref: SessionRef) -> bytes:
    return f"b:{{{ref.namespace}:{ref.id}}}".encode()


def ref_of_key(name: bytes) -> SessionRef | None:
    """Return the session that a key belongs to, None if it is no key of a session."""
    if not (name.startswith(PREFIX) and name.endswith(_ENDS)):
        return None
    namespace, _, sid = name[len(PREFIX) : -_END_BYTES].decode(errors="replace").partition(":")
    return SessionRef(namespace=Namespace(namespace), id=SessionId(sid))


def refs_of(names: Sequence[bytes] | None) -> list[SessionRef] | None:
    """Return the sessions to which these keys belong; None = any may be meant."""
    if names is None:
        return None
    return [ref for ref in map(ref_of_key, names) if ref is not None]


def log_pattern(namespace: Namespace, prefix: str) -> bytes:
    """Return the glob that the logs match of all sessions whose ids begin with `prefix`."""
    literal = _GLOB.sub(r"\\\g<0>", prefix)
    return f"b:{{{namespace}:{literal}*}}m".encode()


def id_of_log(namespace: Namespace, name: bytes) -> SessionId:
    """Return whose log this is; a name that none of ours could have leads to no session."""
    start, end = len(f"b:{{{namespace}:"), -len("}m")
    return SessionId(name[start:end].decode(errors="replace"))
