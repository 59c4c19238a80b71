"""Ids and keys: what they may be, and how they stand in paths and pointers."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadInput, escaped
from service.http.names import (
    MOST_SEQ,
    seq_in_path,
    session_id,
    state_key,
    state_key_in_path,
)

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=64)


def segment(name: str) -> str:
    return quote(name, safe="")


@given(texts.filter(lambda text: text not in {".", ".."}))
def test_a_name_survives_its_way_through_a_path(name: str) -> None:
    assert session_id(segment(name).encode()) == name
    assert state_key_in_path(segment(name).encode()) == name
    assert "/" not in segment(name)


@pytest.mark.parametrize("most", [256, 512])
def test_the_length_is_counted_in_bytes(most: int) -> None:
    parse = session_id if most == 256 else state_key_in_path
    name = "\u00e9" * (most // 2)

    assert parse(segment(name).encode()) == name
    with pytest.raises(BadInput):
        parse(segment(name + "x").encode())


@pytest.mark.parametrize("text", ["", "\x00", "a\x1f", "\x7f", "a\n", "x" * 513])
def test_what_cannot_be_a_key_points_at_its_place(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        state_key(text, "/get/0")
    assert caught.value.faults[0].pointer == "/get/0"


@pytest.mark.parametrize("raw", [b"%", b"%4", b"%g0", b"%u0041", b"%ff", b".", b"%2e%2E"])
def test_a_segment_that_cannot_be_read_is_refused(raw: bytes) -> None:
    with pytest.raises(BadInput):
        session_id(raw)


def test_dots_are_keys_in_bodies() -> None:
    assert [state_key(text, "") for text in (".", "..")] == [".", ".."]


@pytest.mark.parametrize(("name", "token"), [("a/b", "a~1b"), ("~1", "~01"), ("~/", "~0~1")])
def test_a_member_becomes_a_token_of_a_pointer(name: str, token: str) -> None:
    assert escaped(name) == token


@pytest.mark.parametrize("seq", [1, 7, MOST_SEQ])
def test_a_seq_is_digits_of_a_path(seq: int) -> None:
    assert seq_in_path(str(seq).encode()) == seq


@pytest.mark.parametrize("raw", [b"", b"0", b"281474976710656", b"9" * 20, b"+1", b"1.0", b"%31a"])
def test_what_is_no_seq_points_at_the_path(raw: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        seq_in_path(raw)
    assert caught.value.faults[0].pointer == "/path/seq"
