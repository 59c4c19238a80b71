"""The newest messages of a session: packed as in Redis, and rendered as far as they were read.

No object a message at rest. What was rendered stays so until the entry gets cold.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, compress, count, takewhile

import msgspec
from msgspec.structs import replace

from service.chunks import (
    Sealing,
    columns_of,
    is_chunk,
    message_count,
    pack_message,
    read_span,
    sealed_count,
)
from service.codec import pack_number
from service.lines import Lines, Span, Window

MOST_BYTES = 262_144
"""Of one session's messages."""

MOST_LINES, LEAST_LINES = 160, 64
"""Messages that stay rendered: of more than the one, the newest of the other."""

MOST_OPENED_BYTES = 1_048_576
"""Of what a read renders of it."""

_LENGTH_BYTES = 4
_WEIGHT_OF_ONE = 50
"""The object around a sealed element, by the RSS of many."""

_WEIGHT_OF_ANY = 170
"""The objects of a log that holds anything."""


class Found(msgspec.Struct, frozen=True):
    """What a window lets in, and the log that has it rendered now."""

    log: "PackedLog"
    span: Span


class PackedLog(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A run of consecutive messages that ends with the newest one. Immutable.

    `sealed` are elements as Redis has them, up to the last chunk; `tail` are those behind it, each
    after its length, and `tail_count` how many these are. `lines` are consecutive messages of all
    that, rendered; if there are any, only newer ones of the tail may be missing.
    """

    sealed: tuple[bytes, ...] = ()
    tail: bytes = b""
    tail_count: int = 0
    lines: Lines = Lines()
    newest_seq: int = 0
    sealed_bytes: int = 0

    @classmethod
    def of(cls, elements: Sequence[bytes], lines: Lines | None = None) -> "PackedLog":
        """Return a log of the newest elements, of which some newest may be rendered already."""
        if not elements:
            return cls()
        behind = sealed_count(elements)
        sealed, tail = tuple(elements[:behind]), elements[behind:]
        newest_seq = read_span(elements[-1]).end - 1
        log = cls(sealed, _records(tail), len(tail), lines or Lines(), newest_seq, _weight(sealed))
        return log.bounded()

    @property
    def count(self) -> int:
        """How many messages are held."""
        return sum(map(message_count, self.sealed)) + self.tail_count

    @property
    def weight(self) -> int:
        """Bytes of memory; an empty one costs none, as all share it."""
        if not self.newest_seq:
            return 0
        return _WEIGHT_OF_ANY + self.sealed_bytes + len(self.tail) + self.lines.weight

    def appended(self, first_seq: int, at_ms: int, texts: Sequence[bytes]) -> "PackedLog":
        """Return this log with newer messages at its end."""
        last_seq = first_seq + len(texts) - 1
        seqs = range(first_seq, last_seq + 1)
        records = [pack_message(seq, at_ms, text) for seq, text in zip(seqs, texts, strict=True)]
        log = PackedLog(
            self.sealed,
            self.tail + _records(records),
            self.tail_count + len(texts),
            self.lines,
            last_seq,
            self.sealed_bytes,
        )
        return log if log.weight <= MOST_BYTES else log.bounded()

    def find(self, window: Window, first_seq: int, count: int) -> Found | None:
        """Find what a window lets in of the `count` messages of a session, None if not all is held.

        `first_seq` is the oldest of them: what is older was trimmed, though a chunk may hold it.
        """
        log, within = _rendered(self), _within(window, first_seq)
        while True:
            span = log.lines.span(within)
            reaches_oldest = log.lines and log.lines.seqs[0] <= first_seq
            if count == 0 or reaches_oldest or _is_enough(log.lines, within, span, count):
                return Found(log, span)
            opened = _opened(log)
            if opened is None or opened.lines.weight > MOST_OPENED_BYTES:
                return None  # a chunk may be much smaller than its texts: Redis sends them in parts
            log = opened

    def closed(self) -> "PackedLog":
        """Return this log with nothing rendered."""
        return replace(self, lines=Lines())

    def shortened(self) -> "PackedLog":
        """Return this log with nothing rendered, and its newest messages alone: LEAST_LINES or so.

        The tail and the last chunk stay in any case: sealing goes on with them.
        """
        held = accumulate(map(message_count, reversed(self.sealed)), initial=self.tail_count)
        wanted = max(1, len(list(takewhile(lambda count: count < LEAST_LINES, held))))
        if wanted >= len(self.sealed):
            return self.closed() if self.lines else self
        sealed = self.sealed[len(self.sealed) - wanted :]
        return replace(self, sealed=sealed, sealed_bytes=_weight(sealed), lines=Lines())

    def bounded(self) -> "PackedLog":
        """Forget the oldest of what would be too much for one session."""
        lines = self.lines
        if len(lines) > MOST_LINES:
            lines = lines[-LEAST_LINES:]
        if lines.weight > MOST_BYTES // 2:
            lines = Lines()
        room = MOST_BYTES - _WEIGHT_OF_ANY - lines.weight - len(self.tail)
        if room < 0:
            return PackedLog()
        sealed, bytes_ = self.sealed, self.sealed_bytes
        while bytes_ > room:
            bytes_, sealed = bytes_ - _weight(sealed[:1]), sealed[1:]
        return replace(self, sealed=sealed, sealed_bytes=bytes_, lines=lines)

    def unsealed(self, first_seq: int) -> tuple[bytes | None, list[bytes]]:
        """Return the last sealed element and what is behind it, as of messages from a seq on."""
        first = pack_number(first_seq)
        tail = [each for each in _elements(self.tail) if each > first]
        return self.sealed[-1] if self.sealed else None, tail

    def sealed_by(self, sealing: Sealing) -> "PackedLog":
        """Return this log after a sealing was taken, if it holds just what that was made of."""
        held = [*self.sealed[-1:], *_elements(self.tail)]
        is_first = (each.startswith(sealing.identity) for each in held)
        start = next(compress(count(), is_first), len(held))
        end = start + sealing.elements
        if not _is_replaced(held[start:end], sealing):
            return self
        # What could not be packed stays before the chunk.
        sealed = (*self.sealed[:-1], *held[:start], sealing.chunk)
        tail = held[end:]
        # Lines may lag behind the tail alone.
        lines = _rendered(self).lines if self.lines else self.lines
        records, bytes_ = _records(tail), _weight(sealed)
        log = PackedLog(sealed, records, len(tail), lines, self.newest_seq, bytes_)
        return log.bounded()


def _weight(sealed: Sequence[bytes]) -> int:
    return sum(map(len, sealed)) + _WEIGHT_OF_ONE * len(sealed)


def _is_replaced(elements: Sequence[bytes], sealing: Sealing) -> bool:
    """Whether these are what a sealing takes the place of, as `seal.lua` judges it."""
    return (
        len(elements) == sealing.elements
        and not any(map(is_chunk, elements[1:]))
        and read_span(elements[-1]).end - 1 == sealing.last_seq
    )


def _is_enough(lines: Lines, window: Window, span: Span, count: int) -> bool:
    """Whether no older message could be let in too."""
    if window.newest:
        return span.start > 0 or span.end - span.start >= min(window.limit, count)
    return lines.span(replace(window, max_bytes=None)).start > 0


def _rendered(log: PackedLog) -> PackedLog:
    """Return a log with all that came last rendered."""
    last = log.lines.seqs[-1] if log.lines else 0
    if last == log.newest_seq or not log.tail_count:
        return log
    columns = columns_of(_elements(log.tail))
    newer = columns.of(Span(bisect_left(columns.seqs, last + 1), len(columns.seqs)))
    return replace(log, lines=log.lines + Lines.of(newer))


def _opened(log: PackedLog) -> PackedLog | None:
    """Return a log with more of its messages rendered, None if all are."""
    oldest = log.lines.seqs[0] if log.lines else math.inf
    for elements in (tuple(_elements(log.tail)), *((each,) for each in reversed(log.sealed))):
        if elements and read_span(elements[0]).start < oldest:
            columns = columns_of(elements)
            older = columns.of(Span(0, bisect_left(columns.seqs, oldest)))
            return replace(log, lines=Lines.of(older) + log.lines)
    return None


def _within(window: Window, first_seq: int) -> Window:
    """Return the window without what was trimmed: a chunk may hold more."""
    if window.after is not None and window.after >= first_seq:
        return window
    return replace(window, after=first_seq - 1)


def _records(elements: Sequence[bytes]) -> bytes:
    return b"".join(
        [part for each in elements for part in (len(each).to_bytes(_LENGTH_BYTES, "big"), each)]
    )


def _elements(records: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(records):
        end = start + _LENGTH_BYTES
        start = end + int.from_bytes(records[end - _LENGTH_BYTES : end], "big")
        yield records[end:start]
