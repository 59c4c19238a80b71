"""The newest messages of a session: sealed as in Redis, and the newest of all ready to be answered.

No object a message at rest. Chunks that a reading opens stay open until the entry gets cold.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from service.chunks import (
    CHUNK_BYTES,
    CHUNK_MESSAGES,
    MOST_PACKED_BYTES,
    PACKED_BYTES,
    Sealing,
    columns_of,
    identity,
    is_chunk,
    message_count,
    pack_message,
    read_head,
    read_span,
    seal,
)
from service.lines import Columns, Lines, Span, Window

MOST_BYTES = 262_144
"""Of one session's messages."""

MOST_OPEN_MESSAGES = 128
"""Of those that stay rendered although they are sealed, as long as the entry is in use."""


LEAST_ROOM = 200
"""Bytes: a chunk that is nearly full is not made anew for a message or two."""

LEAST_GAIN = 1
"""Bytes by which a chunk has to be shorter than what it takes the place of."""


class Found(msgspec.Struct, frozen=True):
    """What a window lets in, and the log that has it open now."""

    log: "PackedLog"
    span: Span


class PackedLog(msgspec.Struct, frozen=True):
    """A run of consecutive messages that ends with the newest one. Immutable.

    `sealed` are elements as Redis has them, up to the last chunk; `recent` are lines up to the
    newest message. What came behind the last chunk stands in `recent` alone, what is older may
    stand in both.
    """

    sealed: tuple[bytes, ...] = ()
    recent: Lines = Lines()

    @classmethod
    def of(cls, elements: Sequence[bytes], lines: Lines) -> "PackedLog":
        """Return a log of the newest elements, of which `lines` has at least those not sealed."""
        behind = max((i + 1 for i, each in enumerate(elements) if is_chunk(each)), default=0)
        return cls(tuple(elements[:behind]), lines).bounded()

    @classmethod
    def behind(cls, elements: Sequence[bytes]) -> "PackedLog":
        """Return a log of the last chunk among the newest elements, and of what follows it."""
        last = max((i for i, each in enumerate(elements) if is_chunk(each)), default=-1)
        lines = Lines.of(columns_of(elements[last + 1 :]))
        return cls(tuple(elements[last : last + 1]) if last >= 0 else (), lines)

    @property
    def weight(self) -> int:
        """Bytes of all that is held."""
        return sum(map(len, self.sealed)) + self.recent.weight

    @property
    def count(self) -> int:
        """How many messages are held, rendered or not."""
        if not self.sealed:
            return len(self.recent)
        return sum(map(message_count, self.sealed)) + self.tail

    @property
    def tail(self) -> int:
        """How many messages are not sealed."""
        return len(self.recent) - self._unsealed()

    @property
    def open_weight(self) -> int:
        """Bytes that closing would give back."""
        return self.recent.weight_before(self._unsealed()) if self.sealed else 0

    def appended(self, first_seq: int, at_ms: int, texts: Sequence[bytes]) -> "PackedLog":
        """Return this log with newer messages at its end."""
        seqs = range(first_seq, first_seq + len(texts))
        newer = Lines.of(Columns(seqs, (at_ms,) * len(texts), texts))
        return PackedLog(self.sealed, self.recent + newer).bounded()

    def find(self, window: Window, first_seq: int, count: int) -> Found | None:
        """Find what a window lets in of the `count` messages of a session, None if not all is held.

        `first_seq` is the oldest of them: what is older was trimmed, though a chunk may hold it.
        """
        log, within = self, _within(window, first_seq)
        while True:
            span = log.recent.span(within)
            reaches_oldest = log.recent and log.recent.seqs[0] <= first_seq
            if count == 0 or reaches_oldest or log._is_enough(within, span, count):
                return Found(log, span)
            opened = log._opened()
            if opened is None:
                return None
            log = opened

    def _is_enough(self, window: Window, span: Span, count: int) -> bool:
        """Whether no older message could be let in too."""
        if window.newest:
            return span.start > 0 or span.end - span.start >= min(window.limit, count)
        return self.recent.span(replace(window, max_bytes=None)).start > 0

    def closed(self) -> "PackedLog":
        """Return this log with nothing rendered that is sealed."""
        return PackedLog(self.sealed, self.recent[self._unsealed() :])

    def sealing(self) -> Sealing | None:
        """Return a chunk of what is not sealed, None if nothing would get shorter.

        A small chunk is made anew with what followed it.
        """
        for run in self._runs():
            elements = self._to_seal(run)
            chunk, count = _fill(elements)
            if count == 1 and len(elements) > 1 and is_chunk(elements[0]):
                elements = elements[1:]  # it has no room for even one more
                chunk, count = _fill(elements)
            if len(chunk) + LEAST_GAIN <= sum(map(len, elements[:count])):
                first, last = elements[0], elements[count - 1]
                last_seq, from_tail = read_span(last).end - 1, count - is_chunk(first)
                return Sealing(identity(first), count, last_seq, chunk, from_tail)
        return None

    def sealed_by(self, sealing: Sealing) -> "PackedLog":
        """Return this log after a sealing of it was taken; what it has not got stays unknown."""
        first_seq, start = read_head(sealing.chunk).first_seq, self._unsealed()
        kept = [each for each in self.sealed if read_span(each).start < first_seq]
        if self._first_seq() > first_seq:
            return self
        while start < len(self.recent) and self.recent.seqs[start] < first_seq:
            # What could not be packed.
            kept.append(pack_message(*self.recent.parts(start)))
            start += 1
        return PackedLog((*kept, sealing.chunk), self.recent).bounded()

    def _first_seq(self) -> float:
        """Return the seq of the oldest message that is held."""
        if self.sealed:
            return read_span(self.sealed[0]).start
        return self.recent.seqs[0] if self.recent else math.inf

    def _unsealed(self) -> int:
        """Return the index of the first recent message that is not sealed."""
        if not self.sealed:
            return 0
        return bisect_left(self.recent.seqs, read_span(self.sealed[-1]).end)

    def _runs(self) -> Iterator[Span]:
        """Yield runs of messages behind the last chunk that may become one."""
        start = self._unsealed()
        while start < len(self.recent):
            end = self._end_of_run(start)
            if self.recent.size(start) <= MOST_PACKED_BYTES:
                yield Span(start, end)
            start = end

    def _to_seal(self, run: Span) -> list[bytes]:
        """Return the elements of a run, and before them the last chunk if it goes on in it."""
        columns = self.recent[run.start : run.end].columns()
        elements = [pack_message(*each) for each in zip(*columns, strict=True)]
        before = self.sealed[-1:] if run.start == self._unsealed() else ()
        if before and is_chunk(before[0]) and _have_room(before[0], columns):
            return [*before, *elements]
        return elements

    def _end_of_run(self, start: int) -> int:
        recent, size = self.recent, 0
        for index in range(start, min(len(recent), start + CHUNK_MESSAGES)):
            size += recent.size(index)
            is_next = index == start or recent.seqs[index] == recent.seqs[index - 1] + 1
            if not is_next or (size > CHUNK_BYTES and index > start):
                return index
        return min(len(recent), start + CHUNK_MESSAGES)

    def _opened(self) -> "PackedLog | None":
        """Return this log with one more sealed element rendered, None if all are."""
        oldest = self.recent.seqs[0] if self.recent else math.inf
        for element in reversed(self.sealed):
            if read_span(element).start < oldest:
                columns = columns_of((element,))
                older = columns.of(Span(0, bisect_left(columns.seqs, oldest)))
                return PackedLog(self.sealed, Lines.of(older) + self.recent)
        return None

    def bounded(self) -> "PackedLog":
        """Forget the oldest of what would be too much for one session."""
        recent, unsealed = self.recent, self._unsealed()
        is_heavy = recent.weight > MOST_BYTES // 2
        excess = unsealed if is_heavy else min(unsealed, len(recent) - MOST_OPEN_MESSAGES)
        if excess > 0:
            recent = recent[excess:]
        if recent.weight > MOST_BYTES:
            return PackedLog()
        sealed, bytes_ = self.sealed, sum(map(len, self.sealed))
        while bytes_ > MOST_BYTES - recent.weight:
            bytes_, sealed = bytes_ - len(sealed[0]), sealed[1:]
        return PackedLog(sealed, recent)


def _within(window: Window, first_seq: int) -> Window:
    """Return the window without what was trimmed: a chunk may hold more."""
    if window.after is not None and window.after >= first_seq:
        return window
    return replace(window, after=first_seq - 1)


def _have_room(chunk: bytes, columns: Columns) -> bool:
    """Whether a chunk may take the first of some messages too."""
    head = read_head(chunk)
    return (
        head.size > 0
        and head.last_seq + 1 == columns.seqs[0]
        and head.count < CHUNK_MESSAGES
        and head.size + len(columns.texts[0]) <= CHUNK_BYTES
        and len(chunk) + LEAST_ROOM <= PACKED_BYTES
    )


def _fill(elements: Sequence[bytes]) -> tuple[bytes, int]:
    """Return a chunk of as many elements as it may hold, at least one, and how many these are."""
    count = len(elements)
    while True:
        columns = columns_of(elements[:count])
        chunk = seal(columns)
        bytes_ = sum(map(len, columns.texts))
        excess = max(
            len(chunk) / PACKED_BYTES, bytes_ / CHUNK_BYTES, len(columns.seqs) / CHUNK_MESSAGES
        )
        if excess <= 1 or count == 1:
            return chunk, count
        count = max(1, min(count - 1, int(count / excess)))
