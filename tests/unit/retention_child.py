"""Keeps many byte strings of one maker; prints the bytes of RSS, and those of the strings.

python retention_child.py MAKER
"""

import sys
from collections.abc import Callable
from itertools import chain

import orjson
import zstandard

from service.chunks import pack_message, resealed, seal
from service.codec import digest, pack_values
from service.hot.packed_log import PackedLog
from service.hot.packed_map import PackedMap
from service.lines import Columns, Lines
from service.memory.machine import own_rss_bytes
from service.model import StateKey, Value

COUNT = 20_000
HEADER_BYTES = sys.getsizeof(b"")
compressor = zstandard.ZstdCompressor()


def text(number: int, size: int = 100) -> bytes:
    return b'{"n":"%0*d"}' % (size, number)


def columns(number: int, messages: int) -> Columns:
    seqs = range(number, number + messages)
    return Columns(seqs, seqs, [text(seq) for seq in seqs])


def bytes_of_log(log: PackedLog) -> tuple[bytes, ...]:
    return (*log.sealed, log.tail, *bytes_of_lines(log.lines))


def bytes_of_lines(lines: Lines) -> tuple[bytes, ...]:
    return (lines.seq_bytes, lines.at_bytes, lines.start_bytes, lines.data)


def value(number: int, size: int) -> bytes:
    key = StateKey("key")
    return pack_values({key: Value(text(number, size))}, number)[key]


def log_of(number: int, messages: int) -> PackedLog:
    return PackedLog().appended(number, number, [text(number)] * messages)


MAKERS: dict[str, Callable[[int], tuple[bytes, ...]]] = {
    # The control: what these return keeps many times its size.
    "orjson": lambda number: (orjson.dumps({"n": "x" * 100, "number": number}),),
    "zstandard": lambda number: (compressor.compress(text(number)),),
    # What an entry keeps.
    "value": lambda number: (value(number, 20),),
    "packed value": lambda number: (value(number, 600),),
    "chunk": lambda number: (seal(columns(number + 1, 8)),),
    "chunk made anew": lambda number: (resealed(seal(columns(number + 1, 8))).chunk,),
    "message": lambda number: (pack_message(number, number, text(number)),),
    "tail of one": lambda number: bytes_of_log(log_of(number + 1, 1)),
    "tail": lambda number: bytes_of_log(log_of(number + 1, 5).appended(number + 6, 1, [b"{}"])),
    "line": lambda number: bytes_of_lines(Lines.of(columns(number, 1))),
    "lines": lambda number: bytes_of_lines(Lines.of(columns(number, 6))[1:5]),
    "more lines": lambda number: bytes_of_lines(
        Lines.of(columns(number, 3)) + Lines.of(columns(number + 3, 1))
    ),
    "page": lambda number: PackedMap().updated({b"key": value(number, 200)}).pages,
    # What is kept of calls under way.
    "digest": lambda number: (digest(str(number)),),
}


def main(maker: str) -> None:
    """Keep and measure."""
    make = MAKERS[maker]
    make(0)
    kept: list[tuple[bytes, ...]] = [()] * COUNT
    before = own_rss_bytes()
    for number in range(COUNT):
        kept[number] = make(number)
    taken = own_rss_bytes() - before
    strings = [each for each in chain.from_iterable(kept) if each]
    tuples = COUNT * sys.getsizeof(kept[0])
    known = sum(map(len, strings)) + HEADER_BYTES * len(strings) + tuples
    sys.stdout.write(f"{taken} {known}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
