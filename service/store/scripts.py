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

_REPEATABLE = frozenset({"read", "describe", "seal", "tail", "backup"})


@dataclass(frozen=True, slots=True)
class Script:
    """A script as Redis wants it: the text for EVAL, its SHA-1 for EVALSHA."""

    source: bytes
    sha: bytes
    writes: bool


@cache
def script(name: str) -> Script:
    """Return a script by the name of its file."""
    parts = (*_SHARED.get(name, _MUTATION), name)
    source = b"\n".join(_text(part) for part in parts)
    digest = sha1(source, usedforsecurity=False).hexdigest()
    return Script(source, digest.encode(), writes=name not in _REPEATABLE)


def _text(name: str) -> bytes:
    return files("service.store").joinpath("lua", f"{name}.lua").read_bytes()
