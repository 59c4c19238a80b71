"""The Lua scripts, each with the text that it shares in front, and their SHA-1 names."""

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files

_MUTATION = ("session", "mutation")
_SHARED: dict[str, tuple[str, ...]] = {
    "read": ("session", "elements", "search", "values"),
    "describe": ("session",),
    "lease": (),
    "enrol": (),
    "settle": ("session",),
    "backup": (),
    "seal": ("session", "elements"),
    "tail": ("session", "elements"),
    "configure": (*_MUTATION, "elements"),
    "restore": (*_MUTATION, "elements"),
    "append": (*_MUTATION, "elements", "search"),
    "remove": (*_MUTATION, "elements", "search"),
    "write_state": (*_MUTATION, "values"),
}
"""What stands in front of a script, if it is not what stands before most mutations."""

_REPEATABLE = frozenset(("read", "describe", "seal", "tail", "backup", "enrol", "settle"))


@dataclass(frozen=True, slots=True)
class Script:
    """A script as Redis wants it: the text for EVAL, its SHA-1 for EVALSHA."""

    source: bytes
    sha: bytes
    writes: bool


@cache
def script(name: str) -> Script:
    """Return a script by the name of its file."""
    return _composed(name, "live", writes=name not in _REPEATABLE)


@cache
def replay_of(name: str) -> Script:
    """Return the script that does again what another has done, if it is not there."""
    return _composed(name, "replay", writes=False)


def _composed(name: str, first: str, *, writes: bool) -> Script:
    parts = _SHARED.get(name, _MUTATION)
    if parts:
        parts = (first, *parts)
    source = b"\n".join(_text(part) for part in (*parts, name))
    digest = sha1(source, usedforsecurity=False).hexdigest()
    return Script(source, digest.encode(), writes=writes)


def _text(name: str) -> bytes:
    return files("service.store").joinpath("lua", f"{name}.lua").read_bytes()
