"""Bytes of Redis and of the hot tier <-> model."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import (
    DIGEST_BYTES,
    add_revision,
    digest,
    pack_message,
    pack_value,
    session_of,
    unpack_header,
    unpack_message,
    unpack_value,
)
from service.model import JSON_TYPE, ETag, Message, SessionId, StoredValue, Touch, Value

NUMBERS = st.integers(0, 2**48 - 1)
MEDIA_TYPES = st.just(JSON_TYPE) | st.text(st.characters(max_codepoint=255), max_size=255)
VALUES = st.builds(Value, st.binary(), MEDIA_TYPES, st.booleans())


@given(value=VALUES, rev=NUMBERS)
def test_a_value_comes_back(value: Value, rev: int) -> None:
    assert unpack_value(add_revision(rev, pack_value(value))) == StoredValue(value, rev)


def test_plain_json_costs_one_byte() -> None:
    assert pack_value(Value(b"1")) == b"\x001"


@given(seq=NUMBERS, at_ms=NUMBERS, data=st.binary())
def test_a_message_comes_back(seq: int, at_ms: int, data: bytes) -> None:
    message = Message(seq, at_ms, data)

    assert unpack_message(pack_message(message)) == message


def test_zero_in_a_header_means_never() -> None:
    packed = msgspec.msgpack.encode([1, "gen", 7, 10, 20, 15, 0, "never", 0, 5, 9, 100, "id"])
    session = session_of(unpack_header(packed), SessionId("a"), 3, 4)

    assert session.etag == ETag(gen="gen", rev=7)
    assert session.ttl_ms is session.max_age_ms is session.expires_at_ms is None
    assert session.touch is Touch.NEVER
    assert (session.created_at_ms, session.updated_at_ms, session.renewed_at_ms) == (10, 20, 15)
    assert (session.max_messages, session.message_count, session.state_key_count) == (5, 3, 4)


def test_a_header_that_is_not_ours_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        unpack_header(msgspec.msgpack.encode([1, "gen"]))


@given(one=st.text(), other=st.text())
def test_equal_identities_and_only_those_have_equal_digests(one: str, other: str) -> None:
    assert (digest(one) == digest(other)) == (one == other)
    assert len(digest(one)) == DIGEST_BYTES


def test_no_identity_has_no_digest() -> None:
    assert digest(None) == b""
    assert digest("") != b""
