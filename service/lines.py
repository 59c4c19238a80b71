"""Messages as answers have them: lines of JSON with a comma between, made once and then cut.

    {"seq":7,"at":"2026-11-25T10:00:00.000Z","message":{...}},{"seq":8,...

Times in milliseconds since 1970. Seqs only grow, and times never step back.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from service.clock import rfc3339_bytes

_LINE = b'{"seq":%d,"at":"%b","message":%b}'
_BEHIND = b"}"
_WEIGHT_OF_ONE = 20
"""Seq, time and start of a line."""

_WEIGHT_OF_ANY = 280
"""The objects around them, by the RSS of many."""

_LONG_BYTES = 8
_BEFORE = len(_LINE % (0, rfc3339_bytes(0), b"")) - len(_BEHIND) - 1
"""Bytes of a line before its message, without the digits of its seq."""


class Message(msgspec.Struct, frozen=True):
    """One line of a session's log: `data` is the JSON text as it was sent."""

    seq: int
    at_ms: int
    data: bytes


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages to read: at most `limit` from one end of the seqs and times within bounds.

    Of those only the newest whose JSON texts together have at most `max_bytes`. With `digest` at
    most one message is let in: the newest that is remembered under that identity.
    """

    limit: int
    newest: bool = True
    after: int | None = None
    before: int | None = None
    since_ms: int | None = None
    digest: bytes = b""
    max_bytes: int | None = None

    @property
    def is_reverse(self) -> bool:
        """Whether it is filled from its newest message on."""
        return self.newest or self.max_bytes is not None


class Span(NamedTuple):
    """The lines from one index up to another."""

    start: int
    end: int


class Columns(NamedTuple):
    """Consecutive messages, their parts side by side."""

    seqs: Sequence[int]
    ats: Sequence[int]
    texts: Sequence[bytes]

    def span(self, window: Window) -> Span:
        """Return which of these messages a window lets in."""
        start, end = _between(self.seqs, self.ats, window)
        if window.max_bytes is None:
            return Span(start, end)
        fitting = self.of(Span(start, end)).fitting(window.max_bytes, newest=True)
        return Span(start + fitting.start, end)

    def fitting(self, most_bytes: int, *, newest: bool) -> Span:
        """Return as many messages from one end as have at most so many bytes together."""
        count = len(self.texts)
        if sum(map(len, self.texts)) <= most_bytes:
            return Span(0, count)
        texts = reversed(self.texts) if newest else self.texts
        fits = sum(size <= most_bytes for size in accumulate(map(len, texts)))
        return Span(count - fits, count) if newest else Span(0, fits)

    def of(self, span: Span) -> "Columns":
        """Return some of the messages."""
        start, end = span
        return Columns(self.seqs[start:end], self.ats[start:end], self.texts[start:end])

    def newest(self, count: int) -> "Columns":
        """Return the newest so many."""
        return self.of(Span(max(0, len(self.seqs) - count), len(self.seqs)))


class Lines(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Consecutive messages, rendered. Immutable; no object a message.

    Numbers lie in bytes: an array would be one more thing that each garbage collection looks at.
    """

    seq_bytes: bytes = b""
    at_bytes: bytes = b""
    start_bytes: bytes = b""
    data: bytes = b""

    @classmethod
    def of(cls, columns: Columns) -> "Lines":
        """Render messages."""
        seqs, ats, texts = columns
        lines = [
            _LINE % (seq, rfc3339_bytes(at), text)
            for seq, at, text in zip(seqs, ats, texts, strict=True)
        ]
        starts = list(accumulate((len(line) + 1 for line in lines), initial=0))[:-1]
        return cls(_long(seqs), _long(ats), _short(starts), b",".join(lines))

    @property
    def seqs(self) -> Sequence[int]:
        """The seq of each message."""
        return memoryview(self.seq_bytes).cast("Q")

    @property
    def ats(self) -> Sequence[int]:
        """The time of each message."""
        return memoryview(self.at_bytes).cast("Q")

    @property
    def starts(self) -> Sequence[int]:
        """Where each line begins."""
        return memoryview(self.start_bytes).cast("I")

    @property
    def weight(self) -> int:
        """Bytes of memory; an empty one costs none, as all share it."""
        if not self.seq_bytes:
            return 0
        return _WEIGHT_OF_ANY + _WEIGHT_OF_ONE * len(self) + len(self.data)

    def __len__(self) -> int:
        return len(self.seq_bytes) // _LONG_BYTES

    def __add__(self, newer: "Lines") -> "Lines":
        if not newer.seq_bytes or not self.seq_bytes:
            return self if self.seq_bytes else newer
        shift = len(self.data) + 1
        return Lines(
            self.seq_bytes + newer.seq_bytes,
            self.at_bytes + newer.at_bytes,
            self.start_bytes + _short([start + shift for start in newer.starts]),
            b",".join((self.data, newer.data)),
        )

    def __getitem__(self, cut: slice) -> "Lines":
        start, end, _ = cut.indices(len(self))
        if start >= end:
            return Lines()
        starts, longs = self.starts, slice(start * _LONG_BYTES, end * _LONG_BYTES)
        moved = _short([each - starts[start] for each in starts[start:end]])
        return Lines(self.seq_bytes[longs], self.at_bytes[longs], moved, self.json(start, end))

    def span(self, window: Window) -> Span:
        """Return which of these lines a window lets in."""
        if window.max_bytes is not None:
            return self.columns().span(window)
        return Span(*_between(self.seqs, self.ats, window))

    def json(self, start: int, end: int) -> bytes:
        """Return the lines from one index up to another, with commas between."""
        if start >= end:
            return b""
        starts = self.starts
        last = starts[end] - 1 if end < len(starts) else len(self.data)
        return self.data[starts[start] : last]

    def text(self, index: int) -> bytes:
        """Return the JSON text of one message."""
        start = _BEFORE + len(str(self.seqs[index]))
        return self.json(index, index + 1)[start : -len(_BEHIND)]

    def columns(self) -> Columns:
        """Return the same messages, not rendered."""
        seqs, starts = self.seqs, self.starts
        ends = (*starts[1:], len(self.data) + 1)
        texts = [
            self.data[start + _BEFORE + len(str(seq)) : end - 1 - len(_BEHIND)]
            for seq, start, end in zip(seqs, starts, ends, strict=False)  # of none there is an end
        ]
        return Columns(seqs, self.ats, texts)

    def messages(self, start: int, end: int) -> Iterator[Message]:
        """Yield the messages from one index up to another."""
        for index in range(start, end):
            yield Message(self.seqs[index], self.ats[index], self.text(index))


def _long(numbers: Sequence[int]) -> bytes:
    return array("Q", numbers).tobytes()


def _short(numbers: Sequence[int]) -> bytes:
    return array("I", numbers).tobytes()


def _between(seqs: Sequence[int], ats: Sequence[int], window: Window) -> tuple[int, int]:
    """Return the first and the end of the indices that bounds and limit let in."""
    start, end = 0, len(seqs)
    if window.after is not None:
        start = bisect_right(seqs, window.after)
    if window.since_ms is not None:
        start = max(start, bisect_left(ats, window.since_ms))
    if window.before is not None:
        end = max(start, bisect_left(seqs, window.before))
    if window.newest:
        return max(start, end - window.limit), end
    return start, min(end, start + window.limit)
