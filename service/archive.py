"""The archive: a session as lines of JSON, packed by zstd; what is read back is byte-exact; pure.

    {"session": "alice", "format": 1, "at_ms": ..., "gen": ..., "ttl_ms": ..., ...}
    {"state": "step", "value": {"n": 1.0}}
    {"state": "photo", "expires_at_ms": ..., "type": "image/png", "$raw": "<base64>"}
    {"end": "alice", "state": 2, "checksum": "<BLAKE2b, of all lines before>"}

A JSON value stands there as it was sent, with its content type if that is another than
application/json. One with ends of lines in it, or blanks around it, would not come back out of a
line: its text stands in a string, as `text`. What was cut off has no end, and is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

import msgspec
import zstandard
from msgspec import UNSET, Raw, Struct, UnsetType

from service.model import JSON_TYPE, ETag, Session, SessionId, StateKey, StoredValue, Touch, Value

FORMAT = 1
_LEVEL = 3
_CHECKSUM_BYTES = 16
_FEWEST_LINES = 2


class Damaged(Exception):
    """The archive is not whole, or not one of ours."""


class StateCopy(Struct, frozen=True, kw_only=True):
    """The settings and state of a session as they were at a time of Redis."""

    session: Session
    at_ms: int
    values: Mapping[StateKey, StoredValue]


class _SessionLine(Struct, forbid_unknown_fields=True, kw_only=True):
    session: SessionId
    format: int
    at_ms: int
    gen: str
    rev: int
    created_at_ms: int
    updated_at_ms: int
    renewed_at_ms: int
    ttl_ms: int | None
    touch: Touch
    max_age_ms: int | None
    max_messages: int


class _StateLine(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    state: StateKey
    expires_at_ms: int | None = None
    type: str = JSON_TYPE
    value: Raw | UnsetType = UNSET
    text: str | UnsetType = UNSET
    raw: bytes | UnsetType = msgspec.field(name="$raw", default=UNSET)


class _EndLine(Struct, forbid_unknown_fields=True, kw_only=True):
    end: SessionId
    state: int
    checksum: str


_session_line = msgspec.json.Decoder(_SessionLine)
_state_line = msgspec.json.Decoder(_StateLine)
_end_line = msgspec.json.Decoder(_EndLine)


def pack(copy: StateCopy) -> bytes:
    """Return the archive of a copy."""
    # An object of its own: another thread may pack at the same time.
    return zstandard.ZstdCompressor(level=_LEVEL).compress(b"".join(_lines(copy)))


def text_bytes(archive: bytes) -> int:
    """Return how many bytes an archive has unpacked. Raises Damaged."""
    try:
        size = zstandard.frame_content_size(archive)
    except zstandard.ZstdError:
        raise Damaged from None
    if size < 0:
        raise Damaged
    return size


def unpack(archive: bytes) -> StateCopy:
    """Return what was packed. Raises Damaged."""
    try:
        text = zstandard.ZstdDecompressor().decompress(archive, allow_extra_data=False)
        *lines, end, behind = text.split(b"\n")
        if behind or len(lines) < _FEWEST_LINES - 1:
            raise Damaged
        return _copy(lines, _end_line.decode(end))
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError, RecursionError):
        raise Damaged from None


def _lines(copy: StateCopy) -> Iterator[bytes]:
    """Yield all lines, each with its end."""
    checksum = blake2b(digest_size=_CHECKSUM_BYTES)
    session = copy.session
    records: Iterator[Struct] = (_record(*each) for each in copy.values.items())
    for record in (_head(copy), *records):
        line = msgspec.json.encode(record) + b"\n"
        checksum.update(line)
        yield line
    end = _EndLine(end=session.id, state=len(copy.values), checksum=checksum.hexdigest())
    yield msgspec.json.encode(end) + b"\n"


def _head(copy: StateCopy) -> _SessionLine:
    session = copy.session
    return _SessionLine(
        session=session.id,
        format=FORMAT,
        at_ms=copy.at_ms,
        gen=session.etag.gen,
        rev=session.etag.rev,
        created_at_ms=session.created_at_ms,
        updated_at_ms=session.updated_at_ms,
        renewed_at_ms=session.renewed_at_ms,
        ttl_ms=session.ttl_ms,
        touch=session.touch,
        max_age_ms=session.max_age_ms,
        max_messages=session.max_messages,
    )


def _record(key: StateKey, stored: StoredValue) -> _StateLine:
    value, ends = stored.value, stored.expires_at_ms
    line = _StateLine(state=key, expires_at_ms=ends, type=value.media_type)
    if not value.is_json:
        line.raw = value.data
    elif _fits_a_line(value.data):
        line.value = Raw(value.data)
    else:
        line.text = value.data.decode()
    return line


def _fits_a_line(text: bytes) -> bool:
    return text == text.strip() and b"\n" not in text and b"\r" not in text


def _copy(lines: Sequence[bytes], end: _EndLine) -> StateCopy:
    """Return what lines say that have this end. Raises Damaged, and what msgspec raises."""
    checksum = blake2b(digest_size=_CHECKSUM_BYTES)
    for line in lines:
        checksum.update(line)
        checksum.update(b"\n")
    head = _session_line.decode(lines[0])
    values = {line.state: _value(line) for line in map(_state_line.decode, lines[1:])}
    is_whole = checksum.hexdigest() == end.checksum and len(values) == end.state
    if not is_whole or head.format != FORMAT or head.session != end.end:
        raise Damaged
    return StateCopy(session=_session(head, len(values)), at_ms=head.at_ms, values=values)


def _session(head: _SessionLine, state_keys: int) -> Session:
    return Session(
        id=head.session,
        etag=ETag(gen=head.gen, rev=head.rev),
        created_at_ms=head.created_at_ms,
        updated_at_ms=head.updated_at_ms,
        renewed_at_ms=head.renewed_at_ms,
        ttl_ms=head.ttl_ms,
        touch=head.touch,
        max_age_ms=head.max_age_ms,
        max_messages=head.max_messages,
        message_count=0,
        state_key_count=state_keys,
    )


def _value(line: _StateLine) -> StoredValue:
    if line.raw is not UNSET:
        value = Value(line.raw, line.type, is_json=False)
    elif line.text is not UNSET:
        value = Value(line.text.encode(), line.type)
    elif line.value is not UNSET:
        value = Value(bytes(line.value), line.type)
    else:
        raise Damaged
    return StoredValue(value, 0, line.expires_at_ms)
