"""A packed log: whatever was sealed, opened or closed, it tells what a list would, or nothing."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import packing
from service.chunks import Sealing, is_chunk, pack_message
from service.hot import packed_log
from service.hot.packed_log import LEAST_LINES, MOST_BYTES, PackedLog
from service.lines import Lines, Message, Span, Window
from service.packing import pack_next
from tests.store_calls import page_by_hand

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 7)),
        st.tuples(st.sampled_from(["seal", "close", "open"]), st.integers(1, 40)),
    ),
    max_size=12,
)
WINDOWS = st.builds(
    Window,
    limit=st.integers(0, 30),
    newest=st.booleans(),
    after=st.none() | st.integers(0, 60),
    before=st.none() | st.integers(0, 60),
    since_ms=st.none() | st.integers(0, 60),
    max_bytes=st.none() | st.integers(0, 400),
)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "CHUNK_MESSAGES", 5)
    monkeypatch.setattr(packing, "LEAST_GAIN", -1_000)
    monkeypatch.setattr(packed_log, "MOST_LINES", 9)
    monkeypatch.setattr(packed_log, "LEAST_LINES", 6)


def text(seq: int) -> bytes:
    return b'{"n":%d}' % seq


def grown(log: PackedLog, messages: list[Message], count: int) -> PackedLog:
    first = messages[-1].seq + 1 if messages else 1
    seqs = range(first, first + count)
    messages += [Message(seq, first, text(seq)) for seq in seqs]
    return log.appended(first, first, [text(seq) for seq in seqs])


def sealing_of(log: PackedLog) -> Sealing | None:
    return pack_next(*log.unsealed(0))


def sealed(log: PackedLog) -> PackedLog:
    sealing = sealing_of(log)
    return log if sealing is None else log.sealed_by(sealing)


def found(log: PackedLog, window: Window, first_seq: int, count: int) -> list[Message] | None:
    found = log.find(window, first_seq, count)
    return None if found is None else list(found.log.lines.messages(*found.span))


@given(steps=STEPS, window=WINDOWS, trimmed=st.integers(0, 20))
@settings(deadline=None)
def test_it_tells_what_a_list_would(
    steps: list[tuple[str, int]], window: Window, trimmed: int
) -> None:
    log, messages = PackedLog(), list[Message]()
    for what, number in steps:
        if what == "append":
            log = grown(log, messages, number)
        elif what == "seal":
            log = sealed(log)
        elif what == "close":
            log = log.closed()
        else:
            opened = log.find(Window(limit=number), 1, len(messages))
            log = opened.log.bounded() if opened else log
        assert log.count == len(messages)
        assert len(log.lines) <= 9

    held = messages[min(trimmed, max(0, len(messages) - 1)) :]
    first_seq = held[0].seq if held else 1
    by_hand = page_by_hand(held, window)
    assert found(log, window, first_seq, len(held)) == list(by_hand.messages)


def test_what_was_said_since_a_reading_is_not_missed_though_it_was_sealed_meanwhile() -> None:
    messages = list[Message]()
    log = grown(PackedLog(), messages, 2)
    opened = log.find(Window(limit=2), 1, 2)
    assert opened is not None
    log = sealed(grown(opened.log, messages, 2))

    assert log.tail_count == 0
    assert found(log, Window(limit=3), 1, 4) == messages[-3:]


@given(steps=st.lists(st.integers(1, 7), min_size=1, max_size=12))
def test_sealing_all_leaves_no_single_message(steps: list[int]) -> None:
    log, messages = PackedLog(), list[Message]()
    for count in steps:
        log = grown(log, messages, count)
        while (sealing := sealing_of(log)) is not None:
            log = log.sealed_by(sealing)

    assert (log.tail, log.tail_count) == (b"", 0)
    assert all(map(is_chunk, log.sealed))
    assert len(log.sealed) <= 2 * (len(messages) // 5 + 1)
    assert log.closed().lines == Lines()


def test_a_sealing_names_what_it_takes_the_place_of() -> None:
    log, messages = PackedLog(), list[Message]()
    log = grown(log, messages, 3)
    first = sealing_of(log)
    assert first is not None
    assert (first.elements, first.last_seq) == (3, 3)
    assert first.identity == pack_message(1, 1, b"{")

    log = grown(log.sealed_by(first), messages, 2)
    second = sealing_of(log)
    assert second is not None
    assert (second.elements, second.last_seq) == (3, 5)
    assert first.chunk.startswith(second.identity)


def test_a_hole_ends_a_chunk() -> None:
    log = PackedLog().appended(1, 0, [b"{}"] * 2).appended(4, 0, [b"{}"])
    sealing = sealing_of(log)

    assert sealing is not None
    assert sealing.last_seq == 2


def test_what_is_too_large_to_be_packed_stays_between_the_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packing, "CHUNK_BYTES", 40)
    monkeypatch.setattr(packing, "MOST_PACKED_BYTES", 50)
    large = b'"%b"' % (b"x" * 50)
    log = PackedLog().appended(1, 0, [large, b"{}", b"{}", large, b"{}"])
    while (sealing := sealing_of(log)) is not None:
        log = log.sealed_by(sealing)

    assert [is_chunk(element) for element in log.sealed] == [False, True, False, True]
    assert found(log.closed(), Window(limit=9), 1, 5) == [
        Message(seq, 0, each) for seq, each in enumerate([large, b"{}", b"{}", large, b"{}"], 1)
    ]


def test_a_chunk_is_not_made_if_it_is_no_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LEAST_GAIN", 1)
    assert sealing_of(PackedLog().appended(1, 0, [b"{}"] * 2)) is None
    assert (
        sealing_of(PackedLog().appended(1, 0, [b'{"a":"aaaaaaaaaaaaaaaaaaaaa"}'] * 5)) is not None
    )


def test_large_texts_fill_a_chunk_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "CHUNK_BYTES", 100)
    sealing = sealing_of(PackedLog().appended(1, 0, [b"x" * 40] * 5))

    assert sealing is not None
    assert sealing.last_seq == 2


def test_the_oldest_is_forgotten_before_a_session_weighs_too_much() -> None:
    log, dice = PackedLog(), Random(1)
    for seq in range(1, 200):
        log = sealed(log.appended(seq, 0, [b"{%b" % dice.randbytes(10_000)]))
        assert log.weight <= MOST_BYTES
    assert found(log, Window(limit=1), 1, 199) is not None
    assert found(log, Window(limit=199), 1, 199) is None


def test_one_message_beyond_the_bound_forgets_all_and_the_next_begins_anew() -> None:
    log = PackedLog().appended(1, 0, [b"a", b"b" * (MOST_BYTES + 1)])
    assert log == PackedLog()
    assert found(log.appended(3, 0, [b"c"]), Window(limit=1), 1, 3) == [Message(3, 0, b"c")]


def test_a_log_that_does_not_reach_a_chunk_does_not_take_it() -> None:
    whole = PackedLog().appended(1, 0, [text(1), text(2), text(3)])
    sealing = sealing_of(whole)
    late = PackedLog().appended(4, 0, [text(4)])

    assert sealing is not None
    assert late.sealed_by(sealing) == late
    assert PackedLog().sealed_by(sealing) == PackedLog()


def test_what_redis_holds_becomes_a_log() -> None:
    sealing = sealing_of(PackedLog().appended(1, 0, [text(1), text(2)]))
    assert sealing is not None
    elements = (sealing.chunk, pack_message(3, 0, text(3)))
    log = PackedLog.of(elements)

    assert (log.count, log.tail_count) == (3, 1)
    assert found(log, Window(limit=3), 1, 3) == [Message(n, 0, text(n)) for n in (1, 2, 3)]
    assert PackedLog.of(elements[1:]).sealed == ()
    assert PackedLog.of(()) == PackedLog()


def test_what_is_read_stays_rendered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_log, "LEAST_LINES", LEAST_LINES)
    log, messages = PackedLog(), list[Message]()
    for _ in range(100):
        log = sealed(grown(log, messages, 3))
    opened = log.closed().find(Window(limit=200), 1, 300)

    assert opened is not None
    assert opened.span == Span(len(opened.log.lines) - 200, len(opened.log.lines))
    assert len(opened.log.bounded().lines) == LEAST_LINES
    assert opened.log.bounded().closed() == log.closed()


def test_a_chunk_without_room_for_the_next_message_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packing, "PACKED_BYTES", 200)
    dice = Random(2)
    texts = [b'{"t":"%b"}' % dice.randbytes(60).hex().encode() for _ in range(2)]
    log = sealed(PackedLog().appended(1, 0, texts[:1]))
    monkeypatch.setattr(packing, "LEAST_ROOM", 0)
    log = sealed(log.appended(2, 0, texts[1:]))

    assert len(log.sealed) == 2
    assert found(log, Window(limit=2), 1, 2) == [Message(1, 0, texts[0]), Message(2, 0, texts[1])]


@given(steps=STEPS)
@settings(deadline=None)
def test_shortening_leaves_the_newest_messages_in_their_chunks(
    steps: list[tuple[str, int]],
) -> None:
    log, messages = PackedLog(), list[Message]()
    for what, number in steps:
        if what == "append":
            log = grown(log, messages, number)
        elif what == "seal":
            log = sealed(log)
    shortened = log.shortened()

    assert shortened.lines == Lines()
    assert log.closed().unsealed(0) == shortened.unsealed(0)
    assert shortened.shortened() is shortened
    assert min(len(messages), 6) <= shortened.count <= max(6, log.tail_count) + 5
    newest = messages[-6:]
    assert found(shortened, Window(limit=6), 1, len(messages)) == newest
    if shortened.count < len(messages):
        assert found(shortened, Window(limit=len(messages)), 1, len(messages)) is None
