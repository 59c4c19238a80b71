"""The newest messages of a session, packed into blocks of bytes: no object a message at rest."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BLOCK_BYTES = 16_384
MOST_BYTES = 262_144
_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive records (length, then the message as Redis holds it) and how many they are."""

    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class PackedLog:
    """A run of consecutive messages that ends with the newest one. Immutable."""

    blocks: tuple[Block, ...] = ()

    @property
    def count(self) -> int:
        """How many messages are held."""
        return sum(block.count for block in self.blocks)

    @property
    def weight(self) -> int:
        """Bytes of all blocks."""
        return sum(len(block.data) for block in self.blocks)

    def extended(self, elements: Iterable[bytes], keep: int) -> "PackedLog":
        """Return this log with newer messages at its end; only the newest `keep` are needed."""
        blocks = list(self.blocks)
        tail = blocks.pop() if blocks and len(blocks[-1].data) < BLOCK_BYTES else Block(0, b"")
        count, parts, size = tail.count, [tail.data], len(tail.data)
        for element in elements:
            if count and size + len(element) > BLOCK_BYTES:
                blocks.append(Block(count, b"".join(parts)))
                count, parts, size = 0, [], 0
            parts += [len(element).to_bytes(_LENGTH_BYTES, "big"), element]
            count, size = count + 1, size + _LENGTH_BYTES + len(element)
        if count:
            blocks.append(Block(count, b"".join(parts)))
        return PackedLog(_newest(blocks, keep))

    def newest(self, count: int) -> list[bytes]:
        """Return the newest `count` messages or as many as are held, oldest of them first."""
        needed: list[Block] = []
        missing = count
        for block in reversed(self.blocks):
            if missing <= 0:
                break
            needed.append(block)
            missing -= block.count
        elements = [element for block in reversed(needed) for element in _elements(block.data)]
        return elements[max(0, len(elements) - count) :]


def _newest(blocks: list[Block], keep: int) -> tuple[Block, ...]:
    """Drop the oldest blocks that hold nothing of the newest `keep`, or that are too much."""
    first, held, size = len(blocks), 0, 0
    while first > 0 and held < keep and size + len(blocks[first - 1].data) <= MOST_BYTES:
        first -= 1
        held += blocks[first].count
        size += len(blocks[first].data)
    return tuple(blocks[first:])


def _elements(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = start + _LENGTH_BYTES
        start = end + int.from_bytes(data[end - _LENGTH_BYTES : end], "big")
        yield data[end:start]
