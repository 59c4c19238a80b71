"""Bytes of Redis and of the hot tier <-> model: pure, no I/O.

A state value is stored as

    tag (6 bytes, big-endian) | kind (1 byte) | [length (1 byte) | media type] | data

and messages as chunks.py has them. The header of a session is written by the scripts alone.
"""

from hashlib import blake2b

import msgspec

from service.model import (
    JSON_TYPE,
    ETag,
    LogFacts,
    Session,
    SessionId,
    StoredValue,
    Touch,
    Value,
)

NUMBER_BYTES = 6
DIGEST_BYTES = 8
MOST_MEDIA_TYPE_BYTES = 255

_KIND_JSON, _KIND_TYPED_JSON, _KIND_RAW = 0, 1, 2


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
    tail: int
    chunks: int
    largest: int
    dedupe: str
    expiring: int

    @property
    def log(self) -> LogFacts:
        """What it tells of the log."""
        return LogFacts(
            last_seq=self.last_seq,
            first_seq=self.first,
            newest_seq=self.last_seq - self.popped,
            count=self.count,
            tail=self.tail,
            chunks=self.chunks,
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


def pack_value(value: Value, tag: int) -> bytes:
    """Return a value as Redis holds it."""
    if value.is_json and value.media_type == JSON_TYPE:
        return b"".join((pack_number(tag), bytes((_KIND_JSON,)), value.data))
    kind = _KIND_TYPED_JSON if value.is_json else _KIND_RAW
    media_type = value.media_type.encode("latin-1")
    head = bytes((kind, len(media_type)))
    return b"".join((pack_number(tag), head, media_type, value.data))


def unpack_value(stored: bytes, expires_at_ms: int | None = None) -> StoredValue:
    """Decode a state value of Redis; its expiry stands elsewhere."""
    tag = unpack_number(stored)
    kind = stored[NUMBER_BYTES]
    if kind == _KIND_JSON:
        return StoredValue(Value(stored[NUMBER_BYTES + 1 :]), tag, expires_at_ms)
    start = NUMBER_BYTES + 2
    end = start + stored[NUMBER_BYTES + 1]
    media_type = stored[start:end].decode("latin-1")
    value = Value(stored[end:], media_type, kind == _KIND_TYPED_JSON)
    return StoredValue(value, tag, expires_at_ms)


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
