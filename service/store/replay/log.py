"""The writes that this process made, as it made them: what can be played again, newest last.

Blocks of about 64 KiB, compressed when they are full; the oldest leave when there are too many.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Required, TypedDict, Unpack

import msgspec
import zstandard
from msgspec.structs import replace

from service.model import Namespace, SessionId, SessionRef
from service.store.link import Argument
from service.vitals import ReplayLogStatus

BLOCK_BYTES = 65_536
OVERHEAD_BYTES = 200
"""Objects of a block beside its bytes."""

MOST_SHARE = 0.25
"""Of the budget: one write may take so much; a larger one is not kept."""

LEVEL = 1
RENEWAL, RESOLVED, UNKEPT = "renewal", "resolved", "unkept"
"""Names of what is no script: an expiry that was renewed and nothing else; what became of a call of
unknown outcome, by its key; a write that could not be kept, so that nothing else takes its place.
"""

_LENGTH_BYTES = 4


class Facts(TypedDict, total=False):
    """What an entry has beside its session."""

    name: Required[str]
    at_ms: Required[int]
    gen: str
    rev: int
    updated_ms: int
    renewed_ms: int
    ends_ms: int
    has_changed: bool
    args: Sequence[Argument]


class Entry(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A script call that changed a session, or that it remembers. Times in ms of Redis's clock.

    It led to `rev`, and to a session that was changed and renewed at these times, and ends at
    `ends_ms` (0 = never); `rev` 0 = nobody knows whether it was applied.
    """

    name: str
    namespace: str
    id: str
    at_ms: int
    gen: str = ""
    rev: int = 0
    updated_ms: int = 0
    renewed_ms: int = 0
    ends_ms: int = 0
    has_changed: bool = True
    args: Sequence[Any] = ()  # of Argument: msgspec takes no union of texts and bytes

    @classmethod
    def of(cls, ref: SessionRef, **facts: Unpack["Facts"]) -> "Entry":
        """Return an entry of a session."""
        return cls(namespace=ref.namespace, id=ref.id, **facts)

    @property
    def ref(self) -> SessionRef:
        """The session."""
        return SessionRef(namespace=Namespace(self.namespace), id=SessionId(self.id))

    @property
    def follows(self) -> int:
        """The revision that it was made of; 0 = there was no session."""
        return self.rev - self.has_changed


class _Block(NamedTuple):
    """Entries behind each other; `since_ms` is the time of the first."""

    data: bytes
    is_compressed: bool
    entries: int
    since_ms: int

    @property
    def weight(self) -> int:
        """Bytes that the budget is charged with."""
        return len(self.data) + OVERHEAD_BYTES


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def pack_entry(entry: Entry) -> bytes:
    """Encode an entry, behind its length."""
    data = _encoder.encode(entry)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def unpack_entries(data: bytes) -> Iterator[Entry]:
    """Decode entries that stand behind each other."""
    view, start = memoryview(data), 0
    while start < len(view):
        first = start + _LENGTH_BYTES
        start = first + int.from_bytes(view[start:first], "big")
        yield _decoder.decode(view[first:start])


def compress(data: bytes | bytearray) -> bytes:
    """Return packed entries, shorter; a copy, as what zstandard returns is held too large."""
    return bytes(memoryview(zstandard.ZstdCompressor(level=LEVEL).compress(data)))


def decompress(data: bytes) -> bytes:
    """Undo `compress`."""
    return zstandard.ZstdDecompressor().decompress(data)


class ReplayLog:
    """Keeps entries up to a budget in bytes; 0 = keeps nothing."""

    def __init__(self, budget_bytes: int) -> None:
        """Be empty."""
        self.budget_bytes = budget_bytes
        self._blocks: deque[_Block] = deque()
        self._bytes = 0
        self._open = bytearray()
        self._open_entries = self._open_since_ms = 0
        self._entries = self._dropped = 0

    @property
    def held_bytes(self) -> int:
        """Bytes that are held now."""
        return self._bytes + len(self._open)

    @property
    def status(self) -> ReplayLogStatus:
        """The log in figures."""
        oldest = self._blocks[0].since_ms if self._blocks else self._open_since_ms
        return ReplayLogStatus(
            bytes=self.held_bytes,
            budget_bytes=self.budget_bytes,
            writes=self._entries,
            dropped=self._dropped,
            since_ms=oldest if self._entries else None,
        )

    def add(self, entry: Entry) -> bool:
        """Keep an entry as the newest; False if it is too large for that."""
        data = pack_entry(entry)
        if len(data) > self.budget_bytes * MOST_SHARE:
            self._dropped += 1
            self.add(replace(entry, name=UNKEPT, args=()))
            return False
        if not self._open:
            self._open_since_ms = entry.at_ms
        self._open += data
        self._open_entries += 1
        self._entries += 1
        if len(self._open) >= BLOCK_BYTES:
            self._close()
        return True

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, oldest first; of those that come meanwhile any may be among them."""
        # A block at a time is in memory as it was.
        for block in tuple(self._blocks):
            yield from unpack_entries(decompress(block.data) if block.is_compressed else block.data)
        yield from unpack_entries(bytes(self._open))

    def _close(self) -> None:
        """Put what is open among the blocks, and drop the oldest of them that are too many."""
        # A single large write mostly has values that are packed already.
        is_compressed = len(self._open) < 2 * BLOCK_BYTES
        data = compress(self._open) if is_compressed else bytes(self._open)
        block = _Block(data, is_compressed, self._open_entries, self._open_since_ms)
        self._open = bytearray()
        self._open_entries = 0
        self._blocks.append(block)
        self._bytes += block.weight
        while self._bytes + BLOCK_BYTES > self.budget_bytes and self._blocks:
            oldest = self._blocks.popleft()
            self._bytes -= oldest.weight
            self._dropped += oldest.entries
            self._entries -= oldest.entries
