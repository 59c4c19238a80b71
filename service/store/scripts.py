"""The Lua scripts, each with the text that it shares in front, and their SHA-1 names."""

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script as Redis wants it: the text for EVAL, its SHA-1 for EVALSHA."""

    source: bytes
    sha: bytes
    writes: bool


@cache
def script(name: str) -> Script:
    """Return a script by the name of its file; `read` alone is safe to repeat."""
    shared = ("session.lua",) if name == "read" else ("session.lua", "mutation.lua")
    source = b"\n".join(_text(part) for part in (*shared, f"{name}.lua"))
    digest = sha1(source, usedforsecurity=False).hexdigest()
    return Script(source, digest.encode(), writes=name != "read")


def _text(name: str) -> bytes:
    return files("service.store").joinpath("lua", name).read_bytes()
