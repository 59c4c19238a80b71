"""Bytes of Redis and of the hot tier <-> model."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import (
    DIGEST_BYTES,
    digest,
    pack_number,
    pack_value,
    session_of,
    unpack_header,
    unpack_number,
    unpack_value,
)
from service.model import JSON_TYPE, ETag, SessionId, StoredValue, Touch, Value

NUMBERS = st.integers(0, 2**48 - 1)
MEDIA_TYPES = st.just(JSON_TYPE) | st.text(st.characters(max_codepoint=255), max_size=255)
VALUES = st.builds(Value, st.binary(), MEDIA_TYPES, st.booleans())


@given(value=VALUES, tag=NUMBERS, ends=st.none() | NUMBERS)
def test_a_value_comes_back(value: Value, tag: int, ends: int | None) -> None:
    assert unpack_value(pack_value(value, tag), ends) == StoredValue(value, tag, ends)


@given(number=NUMBERS)
def test_a_number_comes_back_and_sorts_as_its_bytes(number: int) -> None:
    assert unpack_number(pack_number(number) + b"rest") == number
    assert (pack_number(number) < pack_number(7)) == (number < 7)


def test_plain_json_costs_a_tag_and_one_byte() -> None:
    assert pack_value(Value(b"1"), 258) == b"\0\0\0\0\x01\x02" + b"\x00" + b"1"


def test_zero_in_a_header_means_never() -> None:
    packed = msgspec.msgpack.encode(
        [3, "gen", 7, 10, 20, 15, 0, "never", 0, 5, 9, 6, 1, 3, 2, 0, 100, "id", 0]
    )
    session = session_of(unpack_header(packed), SessionId("a"), 4)

    assert session.etag == ETag(gen="gen", rev=7)
    assert session.ttl_ms is session.max_age_ms is session.expires_at_ms is None
    assert session.touch is Touch.NEVER
    assert (session.created_at_ms, session.updated_at_ms, session.renewed_at_ms) == (10, 30, 25)
    assert (session.max_messages, session.message_count, session.state_key_count) == (5, 3, 4)


def test_a_header_that_is_not_ours_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        unpack_header(msgspec.msgpack.encode([2, "gen"]))


@given(one=st.text(), other=st.text())
def test_equal_identities_and_only_those_have_equal_digests(one: str, other: str) -> None:
    assert (digest(one) == digest(other)) == (one == other)
    assert len(digest(one)) == DIGEST_BYTES


def test_no_identity_has_no_digest() -> None:
    assert digest(None) == b""
    assert digest("") != b""
