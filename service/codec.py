"""Bytes of Redis and of the hot tier <-> model: pure, no I/O.

A state value is stored as

    tag (6 bytes, big-endian) | kind (1 byte) | [length of the data (1 to 3)]
        | [length (1 byte) | media type] | data

and messages as chunks.py has them. The header of a session is written by the scripts alone.

Of the kind, 2 bits tell what the value is, the next 2 how many bytes the length of the data has,
and 4 by which dictionary it is packed. It has a length only if it is packed: limits mean the data
as it was sent, which nobody has to unpack for that.
"""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from service import dictionary
from service.model import (
    JSON_TYPE,
    ETag,
    LogFacts,
    Session,
    SessionId,
    StateKey,
    StoredValue,
    Touch,
    Value,
)

NUMBER_BYTES = 6
DIGEST_BYTES = 8
MOST_MEDIA_TYPE_BYTES = 255

MOST_TRIED_BYTES = 524_288
"""Of data that one call tries to pack: the event loop has to wait for it."""

_KIND_JSON, _KIND_TYPED_JSON, _KIND_RAW = 0, 1, 2
_KIND_MASK = 3
_LENGTH_SHIFT, _LENGTH_MASK = 2, 3
_DICTIONARY_SHIFT = 4


class Header(msgspec.Struct, array_like=True, frozen=True):
    """The header of a session as `session.lua` packs it; 0 = never in `ttl` and `max_age`."""

    version: int
    gen: str
    rev: int
    created_at: int
    updated_after: int
    renewed_after: int
    ttl: int
    touch: Touch
    max_age: int
    max_messages: int
    last_seq: int
    first: int
    popped: int
    count: int
    sealed: int
    largest: int
    dedupe: str
    expiring: int

    @property
    def newest(self) -> int:
        """The seq of the newest message; `first` - 1 where there is none."""
        return self.last_seq - self.popped

    @property
    def tail(self) -> int:
        """How many messages may be single ones behind the last chunk; some may be deleted."""
        return max(0, self.newest - max(self.sealed, self.first - 1))

    @property
    def log(self) -> LogFacts:
        """What it tells of the log."""
        return LogFacts(
            last_seq=self.last_seq,
            first_seq=self.first,
            newest_seq=self.newest,
            count=self.count,
            sealed_seq=self.sealed,
            largest=self.largest,
            dedupe=self.dedupe,
        )


_header = msgspec.msgpack.Decoder(Header)


def unpack_header(data: bytes) -> Header:
    """Decode the MessagePack array that the scripts wrote."""
    return _header.decode(data)


def session_of(header: Header, sid: SessionId, state_keys: int) -> Session:
    """Join a header with what Redis counted."""
    return Session(
        id=sid,
        etag=ETag(gen=header.gen, rev=header.rev),
        created_at_ms=header.created_at,
        updated_at_ms=header.created_at + header.updated_after,
        renewed_at_ms=header.created_at + header.renewed_after,
        ttl_ms=header.ttl or None,
        touch=header.touch,
        max_age_ms=header.max_age or None,
        max_messages=header.max_messages,
        message_count=header.count,
        state_key_count=state_keys,
        has_expiring_keys=bool(header.expiring),
    )


def pack_value(value: Value, tag: int, most_bytes: int = dictionary.MOST_BYTES) -> bytes:
    """Return a value as Redis holds it, packed if it is worth it and not over `most_bytes`."""
    kind, data, media_type, length = _kind(value), value.data, b"", b""
    if kind != _KIND_JSON:
        media_type = value.media_type.encode("latin-1")
        media_type = bytes((len(media_type),)) + media_type
    if dictionary.LEAST_BYTES <= len(data) <= most_bytes:
        block = dictionary.pack(data)
        if block is not None:
            length = len(data).to_bytes((len(data).bit_length() + 7) // 8, "big")
            kind |= len(length) << _LENGTH_SHIFT | dictionary.DICTIONARY << _DICTIONARY_SHIFT
            data = block
    return b"".join((pack_number(tag), bytes((kind,)), length, media_type, data))


def pack_values(values: Mapping[StateKey, Value], tag: int) -> dict[StateKey, bytes]:
    """Return the values of one call as Redis holds them: only so much is tried to be packed."""
    stored, room = {}, MOST_TRIED_BYTES
    for key, value in values.items():
        most_bytes = min(room, dictionary.MOST_BYTES)
        stored[key] = pack_value(value, tag, most_bytes)
        if dictionary.LEAST_BYTES <= len(value.data) <= most_bytes:
            room -= len(value.data)
    return stored


def retagged(stored: bytes, tag: int) -> bytes:
    """Return a value of Redis as another write would have stored it."""
    return pack_number(tag) + stored[NUMBER_BYTES:]


def value_bytes(stored: bytes) -> int:
    """Return how many bytes a value of Redis has unpacked, what stands in front of it included."""
    start = NUMBER_BYTES + 1
    end = start + (stored[NUMBER_BYTES] >> _LENGTH_SHIFT & _LENGTH_MASK)
    return start + int.from_bytes(stored[start:end], "big") if end > start else len(stored)


def unpack_value(stored: bytes, expires_at_ms: int | None = None) -> StoredValue:
    """Decode a state value of Redis; its expiry stands elsewhere."""
    packing, start = stored[NUMBER_BYTES], NUMBER_BYTES + 1
    kind, media_type = packing & _KIND_MASK, JSON_TYPE
    end = start + (packing >> _LENGTH_SHIFT & _LENGTH_MASK)
    length, start = int.from_bytes(stored[start:end], "big"), end
    if kind != _KIND_JSON:
        end = start + 1 + stored[start]
        media_type, start = stored[start + 1 : end].decode("latin-1"), end
    data = stored[start:]
    if length:
        data = dictionary.unpack(data, length, packing >> _DICTIONARY_SHIFT)
    return StoredValue(
        Value(data, media_type, kind != _KIND_RAW), unpack_number(stored), expires_at_ms
    )


def pack_number(number: int) -> bytes:
    """Return a tag, seq or time as 6 bytes, big-endian."""
    return number.to_bytes(NUMBER_BYTES, "big")


def unpack_number(data: bytes) -> int:
    """Decode the number that `data` begins with."""
    return int.from_bytes(data[:NUMBER_BYTES], "big")


def digest(identity: str | None) -> bytes:
    """Return the 8 bytes under which a message is remembered; b"" if it has no identity.

    64 bits: among the 512 of a window two differing ids meet once in 10^14 windows.
    """
    if identity is None:
        return b""
    return blake2b(identity.encode(), digest_size=DIGEST_BYTES).digest()


def _kind(value: Value) -> int:
    if not value.is_json:
        return _KIND_RAW
    return _KIND_JSON if value.media_type == JSON_TYPE else _KIND_TYPED_JSON
