"""Whether an answer is what was expected, where a part of it can only be known by looking.

An expectation is a tree of dicts and lists. Its leaves are plain values (compared), bytes (the
exact JSON text) and things that `see` the text: they check it, and from then on know it exactly.
What is known once is known by all that share the leaf.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypeVar, runtime_checkable

import msgspec

T = TypeVar("T")
Tree = bytes | dict[str, "Tree"]
"""JSON text, or an object whose members are such."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])

GRACE_MS = 2
"""What ends in the past ends as soon as Redis can have it, but not inside of the call."""


class Difference(AssertionError):
    """The service did something else than the reference."""


@runtime_checkable
class Leaf(Protocol):
    """Something that is known in part."""

    def see(self, raw: bytes) -> None:
        """Check a JSON text, and learn from it. Raises Difference."""


@dataclass
class Moment:
    """A time of Redis in ms, between two that are known."""

    low: int
    high: int

    def see(self, raw: bytes) -> None:
        self.is_at(milliseconds(raw))

    def is_at(self, ms: int) -> None:
        expect(self.low <= ms <= self.high, f"time {ms}, not in {self.low}..{self.high}")
        self.low = self.high = ms


@dataclass
class End:
    """The earliest of some moments plus so many ms each; none: never."""

    parts: list[tuple[Moment, int]]

    @property
    def bounds(self) -> tuple[int, int] | None:
        if not self.parts:
            return None
        return min(m.low + ms for m, ms in self.parts), min(m.high + ms for m, ms in self.parts)

    def see(self, raw: bytes) -> None:
        bounds = self.bounds
        if bounds is None:
            expect(raw == b"null", f"ends at {raw!r}, not never")
            return
        ends = milliseconds(raw)
        expect(bounds[0] <= ends <= bounds[1], f"ends at {ends}, not in {bounds}")
        possible = [(m, ms) for m, ms in self.parts if m.low + ms <= ends]
        if len(possible) == 1:
            possible[0][0].is_at(ends - possible[0][1])


@dataclass
class Gen:
    """What a session made anew has of its own: never one that was seen before."""

    seen: set[str] = field(repr=False)
    text: str = ""

    def is_called(self, text: str) -> None:
        expect(self.text in {"", text}, f"generation {text}, not {self.text}")
        if not self.text:
            expect(text not in self.seen and text != "", f"generation {text} came again")
            self.text = text
            self.seen.add(text)


@dataclass
class Tag:
    """The ETag of a session."""

    gen: Gen
    rev: int

    @property
    def text(self) -> str:
        return f'"{self.gen.text}-{self.rev}"'

    def see(self, raw: bytes) -> None:
        text = text_of(raw)
        self.gen.is_called(text.strip('"').rpartition("-")[0])
        expect(text == self.text, f"etag {text}, not {self.text}")


@dataclass
class Mark:
    """The ETag of one state value: opaque, and another one at each set."""

    gen: Gen
    seen: set[str] = field(repr=False)
    text: str = ""

    def see(self, raw: bytes) -> None:
        text = text_of(raw)
        self.gen.is_called(text.strip('"').rpartition("-")[0])
        expect(self.text in {"", text}, f"etag of the value {text}, not {self.text}")
        if not self.text:
            expect(text not in self.seen, f"etag of the value {text} came again")
            self.text = text
            self.seen.add(text)


@dataclass
class Text:
    """A JSON text: the exact one, or a tree of the exact texts that a merge has put together."""

    exact: bytes | None
    tree: Tree = b""

    @property
    def known(self) -> Tree:
        return self.tree if self.exact is None else self.exact

    def see(self, raw: bytes) -> None:
        if self.exact is None:
            agree(self.tree, raw)
            self.exact = raw
        # What stands inside of a document has lost the blanks around it.
        expect(raw in {self.exact, self.exact.strip()}, f"{raw!r}, not {self.exact!r}")


def text_of(raw: bytes) -> str:
    text = json.loads(raw)
    if not isinstance(text, str):
        raise Difference(f"{raw!r} is no text")
    return text


def milliseconds(raw: bytes) -> int:
    moment = datetime.fromisoformat(text_of(raw)) - _EPOCH
    return round(moment.total_seconds() * 1000)


def expect(is_so: object, what: str) -> None:
    if not is_so:
        raise Difference(what)


def agree(expected: object, raw: bytes, at: str = "") -> None:
    """Compare a JSON text with what is expected. Raises Difference with the place."""
    match expected:
        case dict():
            _agree_all(_decoded(_object.decode, raw, at), expected, at)
        case list():
            found = _decoded(_array.decode, raw, at)
            _agree_all(dict(enumerate(found)), dict(enumerate(expected)), at)
        case bytes():
            expect(raw == expected, f"{at}: {raw!r}, not {expected!r}")
        case Leaf():
            try:
                expected.see(raw)
            except Difference as difference:
                raise Difference(f"{at}: {difference}") from None
        case _:
            expect(json.loads(raw) == expected, f"{at}: {raw!r}, not {expected!r}")


def _agree_all(found: Mapping[T, msgspec.Raw], expected: Mapping[T, object], at: str) -> None:
    expect(found.keys() == expected.keys(), f"{at}: {list(found)}, not {list(expected)}")
    for name, raw in found.items():
        agree(expected[name], bytes(raw), f"{at}/{name}")


def _decoded(decode: Callable[[bytes], T], raw: bytes, at: str) -> T:
    try:
        return decode(raw)
    except msgspec.MsgspecError:
        raise Difference(f"{at}: {raw!r} is of another kind") from None
