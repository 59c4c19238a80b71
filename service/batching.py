"""Writes of a session that wait: kept as bytes, in order, and who of them leave together; pure.

An entry is a kind (1 byte) and the write in MessagePack, without names: one object of its size.
"""

from collections.abc import Sequence
from itertools import chain, islice

import msgspec

from service.errors import key_reused
from service.writes import NO_CHANGE, Append, Idempotency, StateWrite

Write = Append | StateWrite

KEY_BYTES = 9
"""Of the key of a journal's own calls, as mutation.lua has it; those of clients have 8."""

GROUP_BYTES = 65_536
"""Of entries that leave together: what is short must not wait until it is through."""

ENTRY_BYTES, KEYED_BYTES = 64, 192
"""Of memory: for an entry beside its own bytes, and for its Idempotency-Key."""

_APPEND, _STATE = b"a", b"s"
_KINDS: dict[bytes, msgspec.msgpack.Decoder[Write]] = {
    _APPEND: msgspec.msgpack.Decoder(Append),
    _STATE: msgspec.msgpack.Decoder(StateWrite),
}
_encoder = msgspec.msgpack.Encoder()


class Queue:
    """What waits of one session, oldest first.

    `added` and `done` count entries from the beginning; the first `sent` are the batch of which it
    is not known yet whether Redis has it, the call `number` of the journal.
    """

    __slots__ = ("_entries", "_keys", "added", "done", "number", "sent")

    def __init__(self) -> None:
        """Begin with nothing."""
        self._entries: list[bytes] = []
        self._keys: dict[bytes, bytes] = {}
        self.added = self.done = self.sent = self.number = 0

    @property
    def payload_bytes(self) -> int:
        """Bytes of the entries themselves."""
        return sum(map(len, self._entries))

    def has(self, idempotency: Idempotency | None) -> bool:
        """Whether a keyed call waits here. Raises Unprocessable if its key is another call's."""
        fingerprint = self._keys.get(idempotency.key) if idempotency else None
        if idempotency is None or fingerprint is None:
            return False
        if fingerprint != idempotency.fingerprint:
            raise key_reused()
        return True

    def add(self, entry: bytes, idempotency: Idempotency | None) -> None:
        """Keep one more."""
        self._entries.append(entry)
        self.added += 1
        if idempotency is not None:
            self._keys[idempotency.key] = idempotency.fingerprint

    def batch(self, most_messages: int) -> Write:
        """Return what is to be written next: what was sent before, as it was, else a new call."""
        entries = self._entries[: self.sent] if self.sent else self._entries
        self.sent, write = next_batch(entries, most_messages)
        return write

    def sent_bytes(self) -> int:
        """Return the bytes of the batch that was sent."""
        return sum(map(len, self._entries[: self.sent]))

    def forget(self) -> int:
        """Let go of what was sent: it is known what became of it. Returns the bytes of memory."""
        gone = self._entries[: self.sent]
        del self._entries[: self.sent]
        self.done += len(gone)
        self.sent = 0
        idempotency = unpack_write(gone[0]).idempotency if self._keys else None
        if idempotency is not None:
            del self._keys[idempotency.key]
        return sum(map(len, gone)) + ENTRY_BYTES * len(gone) + (KEYED_BYTES if idempotency else 0)


def pack_write(write: Write) -> bytes:
    """Return a write as it waits."""
    kind = _APPEND if isinstance(write, Append) else _STATE
    # Joined, it is a copy: the encoder's own result may keep more than it shows.
    return kind + _encoder.encode(write)


def unpack_write(entry: bytes) -> Write:
    """Return the write that an entry is made of."""
    return _KINDS[entry[:1]].decode(memoryview(entry)[1:])


def payload_bytes(write: Write) -> int:
    """Return the bytes of what a write brings."""
    if isinstance(write, Append):
        return sum(map(len, write.messages))
    return sum(len(value.data) for value in write.sets.values())


def next_batch(entries: Sequence[bytes], most_messages: int) -> tuple[int, Write]:
    """Return how many of the oldest entries may share a call, one at least, and that call.

    Of these entries alone it makes the same call again.
    """
    first = unpack_write(entries[0])
    group, messages, size = [first], _groupable(first), len(entries[0])
    for entry in islice(entries, 1, None) if messages else ():
        size += len(entry)
        if size > GROUP_BYTES:
            break
        write = unpack_write(entry)
        messages += (count := _groupable(write))
        if not count or messages > most_messages or _member(write) != _member(first):
            break
        group.append(write)
    return len(group), _joined(group)


def _groupable(write: Write) -> int:
    """Return how many messages a write brings; 0 if it has to be a call of its own."""
    if not isinstance(write, Append) or write.idempotency or write.change != NO_CHANGE:
        return 0
    return len(write.messages)


def _member(write: Write) -> str:
    return write.dedupe if isinstance(write, Append) else ""


def _joined(group: Sequence[Write]) -> Write:
    if len(group) == 1:
        return group[0]
    appends = [write for write in group if isinstance(write, Append)]
    return Append(
        messages=tuple(chain.from_iterable(each.messages for each in appends)),
        digests=tuple(chain.from_iterable(each.digests for each in appends)),
        dedupe=appends[0].dedupe,
    )
