"""Entries that were not used for a while, packed side by side in blocks.

Small objects that leave one by one leave holes, which no trim gives back to the system: of sessions
of 1 KB that were evicted in any order nothing came back. A block is a mapping of its own: the
system has it back when it goes, and no other allocation can settle in it.
"""

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, PAGESIZE, mmap

import msgspec

from service.hot.entry import Entry
from service.model import SessionRef

BLOCK_BYTES = 65_536
"""Of entries by their weight: in a block, which is a little smaller, or of its only entry."""

OVERHEAD_BYTES = 270
"""What is kept of an entry beside its block, by the RSS of many."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)

Packed = tuple[SessionRef, bytes]


class _Block(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Entries of some sessions, in the order of their bytes."""

    number: int
    refs: tuple[SessionRef, ...]
    starts: bytes
    data: mmap

    @classmethod
    def of(cls, number: int, entries: Sequence[Packed]) -> "_Block":
        starts = list(accumulate((len(packed) for _, packed in entries), initial=0))
        data = mmap(-1, starts[-1], flags=MAP_PRIVATE | MAP_ANONYMOUS)
        for _, packed in entries:
            data.write(packed)
        refs = tuple([ref for ref, _ in entries])
        return cls(number, refs, array("I", starts).tobytes(), data)

    @property
    def weight(self) -> int:
        """Bytes of memory: whole pages."""
        return -(-len(self.data) // PAGESIZE) * PAGESIZE

    def part(self, index: int) -> memoryview:
        """Return where the bytes of one entry are."""
        start, end = memoryview(self.starts).cast("I")[index : index + 2]
        return memoryview(self.data)[start:end]


class Shelf:
    """Blocks of entries; what was put first stands in front."""

    def __init__(self) -> None:
        """Begin with none."""
        self._places: dict[SessionRef, _Block] = {}
        self._blocks: OrderedDict[int, _Block] = OrderedDict()
        self._gone: dict[int, int] = {}
        self._sparse: list[int] = []
        self._block_bytes = self._number = self._most = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, ref: SessionRef) -> bool:
        return ref in self._places

    @property
    def bytes(self) -> int:
        """Bytes of memory, those of entries that were taken out of blocks included."""
        return self._block_bytes + OVERHEAD_BYTES * len(self._places)

    def put(self, entries: Sequence[tuple[SessionRef, Entry]]) -> None:
        """Make a block of entries, and of what is left of blocks that have become sparse.

        Raises OSError if the system gives no memory; then nothing has changed.
        """
        packed = [(ref, _encoder.encode(entry)) for ref, entry in entries]
        sparse, looked_at = self._sparse_blocks()
        for old in sparse:
            packed += [(old.refs[index], bytes(old.part(index))) for index in self._left(old)]
        block = _Block.of(self._number + 1, packed)
        del self._sparse[len(self._sparse) - looked_at :]
        for old in sparse:
            self._remove(old)
        self._number += 1
        self._blocks[self._number] = block
        self._places.update(dict.fromkeys(block.refs, block))
        self._block_bytes += block.weight
        self._most = max(self._most, len(self._places))

    def _sparse_blocks(self) -> tuple[list[_Block], int]:
        """Return blocks of which about one more can be made, and how many names were looked at."""
        blocks: list[_Block] = []
        room, looked_at = BLOCK_BYTES, 0
        for number in reversed(self._sparse):
            if room <= 0:
                break
            looked_at += 1
            if (block := self._blocks.get(number)) is not None:
                blocks.append(block)
                room -= sum(len(block.part(index)) for index in self._left(block))
        return blocks, looked_at

    def _left(self, block: _Block) -> list[int]:
        """Return which entries of a block are still there."""
        return [i for i, ref in enumerate(block.refs) if self._places.get(ref) is block]

    def peek(self, ref: SessionRef) -> Entry | None:
        """Return an entry, and leave it where it is."""
        block = self._places.get(ref)
        return None if block is None else _decoder.decode(block.part(block.refs.index(ref)))

    def discard(self, ref: SessionRef) -> None:
        """Forget an entry; its bytes go when its block goes, or is made anew."""
        block = self._places.pop(ref, None)
        if block is None:
            return
        gone = self._gone[block.number] = self._gone.get(block.number, 0) + 1
        if gone == len(block.refs):
            self._drop(block)
        elif gone == len(block.refs) // 2:
            self._sparse.append(block.number)

    def evict(self) -> list[SessionRef]:
        """Drop the block in front; return whose entries were in it."""
        block = next(iter(self._blocks.values()))
        refs = [block.refs[index] for index in self._remove(block)]
        if len(self._places) * 2 <= self._most:
            self._places = dict(self._places)  # which by itself never shrinks
            self._most = len(self._places)
        return refs

    def _remove(self, block: _Block) -> list[int]:
        """Drop a block; return which of its entries were still there."""
        self._drop(block)
        left = self._left(block)
        for index in left:
            del self._places[block.refs[index]]
        return left

    def _drop(self, block: _Block) -> None:
        del self._blocks[block.number]
        self._gone.pop(block.number, None)
        self._block_bytes -= block.weight
