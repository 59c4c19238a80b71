"""Messages of Redis: one by one, or packed into a chunk; pure, no I/O.

A message that is not packed is `seq (6) | at (6) | JSON text`. A chunk of consecutive messages is

    first seq (6) | its at (6) | mark (1) | last seq (6) | size (4) | n (2) | n gaps (6 each) | body

The head is what scripts read, and change: popping lowers the last seq, deleting one of the others
adds a gap, and the size of the texts is 0 once it is not known. The mark tells how the body is
packed, below 32 so that no JSON begins like it; zstd without a dictionary is all there is. The
body stays as it was sealed: length of a table (2), the table, the texts. The table is MessagePack:
first seq, steps of the seqs if any is not 1, steps of the times, lengths of the texts.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from struct import Struct

import msgspec
import zstandard

from service.codec import NUMBER_BYTES, pack_number, unpack_number
from service.lines import Columns, Span

CHUNK_MESSAGES = 128
CHUNK_BYTES = 16_384
"""Of texts in a chunk of several messages."""

PACKED_BYTES = 4_060
"""Of a chunk of several messages: with what Redis keeps around it a little less than 4 KiB, a size
that its allocators have, so hardly anything of what they give is wasted."""

MOST_PACKED_BYTES = 262_144
"""Of one text: a larger one would hold the event loop for milliseconds, and stays as it is."""

MARK_ZSTD = 1
_FIRST_OF_JSON = 32
_MARK = 2 * NUMBER_BYTES
_NUMBER_BITS = 8 * NUMBER_BYTES
_ANY_NUMBER = (1 << _NUMBER_BITS) - 1
_HEAD = Struct(">6s6sB6sIH")
_LEVEL = 3

_decompressor = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)
_compressor = zstandard.ZstdCompressor(
    compression_params=zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=1, write_checksum=0
    )
)
_table = msgspec.msgpack.Decoder(tuple[int, list[int], list[int], list[int]])
_LENGTH = Struct(">H")


class Head(msgspec.Struct, frozen=True):
    """What the head of a chunk tells."""

    first_seq: int
    last_seq: int
    size: int
    gaps: frozenset[int]
    length: int

    @property
    def count(self) -> int:
        """How many messages are held."""
        return self.last_seq - self.first_seq + 1 - len(self.gaps)


class Sealing(msgspec.Struct, frozen=True):
    """A chunk that may take the place of some elements, which `seal.lua` knows by the others."""

    identity: bytes
    elements: int
    last_seq: int
    chunk: bytes


class Unsealed(msgspec.Struct, frozen=True):
    """What stands behind the last chunk of a log, or a part of it, with that chunk before it."""

    gen: str
    newest_seq: int
    elements: Sequence[bytes]

    @property
    def last_seq(self) -> int:
        """The seq that it ends with; `newest_seq` is that of the whole log."""
        return read_span(self.elements[-1]).end - 1


def is_chunk(element: bytes) -> bool:
    """Whether an element of a log is a chunk."""
    return len(element) > _MARK and element[_MARK] < _FIRST_OF_JSON


def identity(element: bytes) -> bytes:
    """Return the bytes that tell an element, with all that it holds, from every other."""
    return element[: read_head(element).length] if is_chunk(element) else element[: _MARK + 1]


def read_head(chunk: bytes) -> Head:
    """Decode the head of a chunk."""
    first, _, _, last, size, count = _HEAD.unpack_from(chunk)
    end = _HEAD.size + count * NUMBER_BYTES
    gaps = (
        unpack_number(chunk[start : start + NUMBER_BYTES])
        for start in range(_HEAD.size, end, NUMBER_BYTES)
    )
    return Head(unpack_number(first), unpack_number(last), size, frozenset(gaps), end)


def seal(columns: Columns) -> bytes:
    """Pack messages into a chunk."""
    seqs, ats, texts = columns
    steps = _steps(seqs)
    lengths = list(map(len, texts))
    table = msgspec.msgpack.encode(
        (seqs[0], steps if max(steps, default=1) > 1 else [], _steps(ats), lengths)
    )
    body = _compressor.compress(b"".join((_LENGTH.pack(len(table)), table, *texts)))
    gaps = [seq for a, b in pairwise(seqs) for seq in range(a + 1, b)]
    first, last, at = pack_number(seqs[0]), pack_number(seqs[-1]), pack_number(ats[0])
    head = _HEAD.pack(first, at, MARK_ZSTD, last, sum(lengths), len(gaps))
    return b"".join((head, *map(pack_number, gaps), body))


def unseal(chunk: bytes) -> Columns:
    """Return the messages that a chunk holds."""
    head = read_head(chunk)
    content = _decompressor.decompress(memoryview(chunk)[head.length :])
    (length,) = _LENGTH.unpack_from(content)
    table = _LENGTH.size + length
    first, steps, at_steps, lengths = _table.decode(content[_LENGTH.size : table])
    at = unpack_number(chunk[NUMBER_BYTES:_MARK])
    count = len(lengths)
    seqs = list(accumulate(steps, initial=first)) if steps else range(first, first + count)
    ends = accumulate(lengths, initial=table)
    texts = [content[start:end] for start, end in pairwise(ends)]
    columns = Columns(seqs, list(accumulate(at_steps, initial=at)), texts)
    is_whole = (seqs[0], seqs[-1], count) == (head.first_seq, head.last_seq, head.count)
    return columns if is_whole else _held(columns, head)


def resealed(chunk: bytes) -> Sealing:
    """Return the same chunk without the bytes of messages that it does not hold any more."""
    head = read_head(chunk)
    return Sealing(chunk[: head.length], 1, head.last_seq, seal(unseal(chunk)))


def read_span(element: bytes) -> Span:
    """Return the seq that an element begins with, and the one behind its last."""
    if is_chunk(element):
        head = read_head(element)
        return Span(head.first_seq, head.last_seq + 1)
    seq = unpack_number(element)
    return Span(seq, seq + 1)


def text_bytes(element: bytes) -> int:
    """Return about how many bytes the texts of an element have: less if some are not known."""
    return read_head(element).size if is_chunk(element) else len(element) - _MARK


def sealed_count(elements: Sequence[bytes]) -> int:
    """Return how many of the newest elements of a log stand before its tail."""
    return max((i + 1 for i, each in enumerate(elements) if is_chunk(each)), default=0)


def message_count(element: bytes) -> int:
    """Return how many messages an element holds."""
    return read_head(element).count if is_chunk(element) else 1


def pack_message(seq: int, at_ms: int, text: bytes) -> bytes:
    """Return a message as the scripts store it."""
    return b"".join((pack_number(seq), pack_number(at_ms), text))


def columns_of(elements: Iterable[bytes]) -> Columns:
    """Return the messages of consecutive elements of a log, packed or not."""
    seqs: list[int] = []
    ats: list[int] = []
    texts: list[bytes] = []
    from_bytes = int.from_bytes
    for element in elements:
        if is_chunk(element):
            part = unseal(element)
            seqs += part.seqs
            ats += part.ats
            texts += part.texts
        else:
            prefix = from_bytes(element[:_MARK])
            seqs.append(prefix >> _NUMBER_BITS)
            ats.append(prefix & _ANY_NUMBER)
            texts.append(element[_MARK:])
    return Columns(seqs, ats, texts)


def _held(columns: Columns, head: Head) -> Columns:
    """Leave out what was popped or deleted since the chunk was sealed."""
    held = [
        (seq, at, text)
        for seq, at, text in zip(*columns, strict=True)
        if head.first_seq <= seq <= head.last_seq and seq not in head.gaps
    ]
    seqs, ats, texts = zip(*held, strict=True)
    return Columns(seqs, ats, texts)


def _steps(values: Sequence[int]) -> list[int]:
    return [b - a for a, b in pairwise(values)]
