"""Chunks: what was sealed comes back, and a head says what of it is held."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.chunks import (
    MARK_ZSTD,
    columns_of,
    identity,
    is_chunk,
    message_count,
    pack_message,
    read_head,
    read_span,
    resealed,
    seal,
    text_bytes,
    unseal,
)
from service.lines import Columns

MESSAGES = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 10**10), st.binary(min_size=2, max_size=40)),
    min_size=1,
    max_size=20,
)
BLANK = b"\0" * 6


def columns_from(steps: list[tuple[int, int, bytes]]) -> Columns:
    seqs = [sum(step for step, _, _ in steps[: i + 1]) for i in range(len(steps))]
    ats = [sum(wait for _, wait, _ in steps[: i + 1]) for i in range(len(steps))]
    return Columns(seqs, ats, [text for _, _, text in steps])


def listed(columns: Columns) -> list[tuple[int, int, bytes]]:
    return list(zip(*columns, strict=True))


def narrowed(chunk: bytes, first: int, last: int, *gaps: int) -> bytes:
    """Do with a head what the scripts do."""
    head = read_head(chunk)
    numbers = [*sorted(gap for gap in {*head.gaps, *gaps} if first < gap < last)]
    return b"".join(
        (
            first.to_bytes(6, "big"),
            chunk[6:13],
            last.to_bytes(6, "big"),
            b"\0\0\0\0",
            len(numbers).to_bytes(2, "big"),
            *(number.to_bytes(6, "big") for number in numbers),
            chunk[head.length :],
        )
    )


@given(steps=MESSAGES)
def test_what_was_sealed_comes_back(steps: list[tuple[int, int, bytes]]) -> None:
    columns = columns_from(steps)
    chunk = seal(columns)

    assert is_chunk(chunk)
    assert listed(unseal(chunk)) == listed(columns)
    assert message_count(chunk) == len(steps)
    assert text_bytes(chunk) == sum(len(text) for *_, text in steps)
    assert read_span(chunk) == (columns.seqs[0], columns.seqs[-1] + 1)


@given(steps=MESSAGES, data=st.data())
def test_what_a_head_does_not_hold_does_not_come_back(
    steps: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    columns = columns_from(steps)
    held = sorted(data.draw(st.sets(st.sampled_from(list(columns.seqs)), min_size=1)))
    gone = set(columns.seqs) - set(held)
    chunk = narrowed(seal(columns), held[0], held[-1], *gone)
    left = [each for each in listed(columns) if each[0] in held]

    assert listed(unseal(chunk)) == left
    assert message_count(chunk) == len(left)
    anew = resealed(chunk)
    assert (anew.identity, anew.elements, anew.last_seq) == (identity(chunk), 1, held[-1])
    assert listed(unseal(anew.chunk)) == left
    assert text_bytes(anew.chunk) == sum(len(text) for *_, text in left)


def test_what_was_deleted_is_in_no_chunk_that_was_sealed_anew() -> None:
    secret = b'{"text":"q8Zk3vX0"}'
    chunk = seal(Columns([1, 2, 3], [0, 0, 0], [b'{"text":"a"}', secret, b'{"text":"b"}']))
    left = narrowed(chunk, 1, 3, 2)

    assert b"q8Zk3vX0" in left  # too short to be packed: the control
    assert b"q8Zk3vX0" not in resealed(left).chunk


def test_messages_and_chunks_are_told_apart() -> None:
    message = pack_message(7, 8, b"{}")

    assert not is_chunk(message)
    assert not is_chunk(pack_message(7, 8, b""))
    assert (message_count(message), text_bytes(message), read_span(message)) == (1, 2, (7, 8))
    assert identity(message) == message[:13]
    assert seal(Columns((1,), (2,), (b"{}",)))[12] == MARK_ZSTD


def test_elements_of_both_kinds_are_read_in_a_row() -> None:
    chunk = seal(Columns([1, 2], [10, 20], [b'{"a":1}', b'{"a":2}']))
    elements = [chunk, pack_message(3, 30, b'{"a":3}'), pack_message(9, 40, b'{"a":4}')]

    assert listed(columns_of(elements)) == [
        (1, 10, b'{"a":1}'),
        (2, 20, b'{"a":2}'),
        (3, 30, b'{"a":3}'),
        (9, 40, b'{"a":4}'),
    ]


@pytest.mark.parametrize("count", [32, 128])
def test_real_chat_gets_shorter(count: int) -> None:
    texts = [b'{"sender":"ada","text":"message number %d of this chat"}' % n for n in range(count)]
    chunk = seal(Columns(range(1, count + 1), [n * 1_000 for n in range(count)], texts))

    assert len(chunk) < 0.4 * sum(map(len, texts))
