"""Which messages become the next chunk of a log, and what it takes the place of."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from service.chunks import (
    CHUNK_BYTES,
    CHUNK_MESSAGES,
    MOST_PACKED_BYTES,
    PACKED_BYTES,
    Sealing,
    columns_of,
    identity,
    is_chunk,
    read_head,
    read_span,
    seal,
    text_bytes,
)
from service.codec import unpack_number

LEAST_ROOM = 200
"""Bytes: a chunk that is nearly full is not made anew for a message or two."""

LEAST_GAIN = 1
"""Bytes by which a chunk has to be shorter than what it takes the place of."""


def pack_next(before: bytes | None, tail: Sequence[bytes]) -> Sealing | None:
    """Return a chunk of the oldest messages of a tail, None if nothing would get shorter.

    If the element `before` them is a small chunk, it is made anew with what followed it.
    """
    for start, end in _runs(tail):
        elements = list(tail[start:end])
        if start == 0 and before is not None and _has_room(before, elements[0]):
            elements.insert(0, before)
        chunk, count = _fill(elements)
        if count == 1 and len(elements) > 1 and is_chunk(elements[0]):
            elements = elements[1:]  # it has no room for even one more
            chunk, count = _fill(elements)
        if len(chunk) + LEAST_GAIN <= sum(map(len, elements[:count])):
            last_seq = read_span(elements[count - 1]).end - 1
            return Sealing(identity(elements[0]), count, last_seq, chunk)
    return None


def _runs(tail: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield where messages begin and end that follow on each other and may share a chunk."""
    seqs, sizes = list(map(unpack_number, tail)), list(map(text_bytes, tail))
    start = 0
    while start < len(tail):
        end, size = start + 1, sizes[start]
        while end < min(len(tail), start + CHUNK_MESSAGES):
            size += sizes[end]
            if seqs[end] != seqs[end - 1] + 1 or size > CHUNK_BYTES:
                break
            end += 1
        if sizes[start] <= MOST_PACKED_BYTES:
            yield start, end
        start = end


def _has_room(chunk: bytes, element: bytes) -> bool:
    """Whether a chunk may take the message behind it too."""
    if not is_chunk(chunk):
        return False
    head = read_head(chunk)
    return (
        head.size > 0
        and head.last_seq + 1 == read_span(element).start
        and head.count < CHUNK_MESSAGES
        and head.size + text_bytes(element) <= CHUNK_BYTES
        and len(chunk) + LEAST_ROOM <= PACKED_BYTES
    )


def _fill(elements: Sequence[bytes]) -> tuple[bytes, int]:
    """Return a chunk of as many elements as it may hold, at least one, and how many these are."""
    count = _guess(elements)
    while True:
        columns = columns_of(elements[:count])
        chunk = seal(columns)
        excess = max(
            len(chunk) / PACKED_BYTES,
            sum(map(len, columns.texts)) / CHUNK_BYTES,
            len(columns.seqs) / CHUNK_MESSAGES,
        )
        if excess <= 1 or count == 1:
            return chunk, count
        count = max(1, min(count - 1, int(count / excess)))


def _guess(elements: Sequence[bytes]) -> int:
    """Return how many may fit behind a chunk, if they pack as what it holds did."""
    first = elements[0]
    if not is_chunk(first):
        return len(elements)
    room = (PACKED_BYTES - len(first)) * text_bytes(first) / len(first)
    sizes = accumulate(map(text_bytes, elements[1:]))
    return 1 + max(1, sum(size <= room for size in sizes))
