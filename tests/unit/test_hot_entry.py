"""An entry of the hot tier answers what it knows, and nothing else."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.hot import Entry
from service.model import (
    Message,
    Page,
    Reading,
    StateKey,
    StatePart,
    StoredValue,
    Value,
    View,
    Window,
)
from service.writes import Append, Appended
from tests.hot_entries import elements_of, entry, session, view_of
from tests.store_calls import page_by_hand, shown

WINDOWS = st.builds(
    Window,
    limit=st.integers(0, 12),
    newest=st.booleans(),
    after=st.none() | st.integers(0, 25),
    before=st.none() | st.integers(0, 25),
    since_ms=st.none() | st.integers(990, 1_030),
    max_bytes=st.none() | st.integers(0, 30),
)


@given(window=WINDOWS, known=st.integers(0, 10), first=st.integers(1, 10), new=st.integers(0, 5))
@example(window=Window(limit=0), known=0, first=1, new=0)
@example(window=Window(limit=0, newest=False, after=99), known=0, first=1, new=0)
@settings(max_examples=500, deadline=None)
def test_an_entry_answers_a_window_rightly_or_not_at_all(
    window: Window, known: int, first: int, new: int
) -> None:
    messages = [Message(seq, 1_000 + seq // 2, b"{}") for seq in range(first, first + 10)]
    page = page_by_hand(messages, Window(limit=known))
    reading = Reading(window=Window(limit=known))
    view = View(session=session(messages=10), now_ms=1_000, page=page, elements=elements_of(page))
    held = entry(messages=10).filled(reading, view)
    for seq in range(first + 10, first + 10 + new):
        messages.append(Message(seq, 1_000 + seq // 2, b"{}"))
        held = held.appended(
            Append(messages=(b"{}",), digests=(b"",)),
            Appended(
                session=session(messages=len(messages)),
                now_ms=1_000,
                changed=True,
                tail=0,
                count=1,
                at_ms=messages[-1].at_ms,
                last_seq=seq,
                first_seq_held=first,
                last_seq_held=seq,
                duplicates=(),
            ),
            0.0,
        )
    answer = held.view(Reading(window=window), 0.0)

    assert answer is None or shown(answer.page) == shown(page_by_hand(messages, window))
    if known + new >= window.limit > 0 and window == Window(limit=window.limit):
        assert answer is not None


def test_an_entry_never_says_absent_without_knowing_it() -> None:
    some = Reading(state=StatePart.SOME, keys=(StateKey("a"),))

    assert Entry.of(session(values=1), 1_000, 0.0).view(some, 0.0) is None
    assert Entry.of(session(values=1), 1_000, 0.0).view(Reading(state=StatePart.ALL), 0.0) is None
    empty = Entry.of(session(values=0), 1_000, 0.0).view(some, 0.0)
    assert empty is not None
    assert empty.values == {StateKey("a"): None}


def test_an_entry_expires_by_the_clock_of_redis() -> None:
    held = Entry.of(session(), redis_now_ms=31_000, now=500.0)

    assert not held.has_expired(500.0 + 29.999)
    assert held.has_expired(500.0 + 30.0)


def test_an_entry_does_not_show_a_value_that_has_expired() -> None:
    values = {
        StateKey("a"): StoredValue(Value(b"1"), 1, 2_000),
        StateKey("b"): StoredValue(Value(b"1"), 1),
    }
    view = view_of(values, 2)
    held = entry().filled(Reading(state=StatePart.ALL), view)
    some = Reading(state=StatePart.SOME, keys=(StateKey("b"), StateKey("a")))

    for seconds, seen in ((0.999, {"a", "b"}), (1.0, {"b"})):
        whole = held.view(Reading(state=StatePart.ALL), seconds)
        names = held.view(Reading(state=StatePart.NAMES), seconds)
        part = held.view(some, seconds)
        assert whole is not None
        assert names is not None
        assert part is not None
        assert set(whole.values) == set(names.names) == seen
        assert {key for key, stored in part.values.items() if stored} == seen
        assert list(part.values) == ["b", "a"]


@pytest.mark.parametrize(("count", "is_answered"), [(7, True), (8, False)])
def test_an_entry_answers_no_more_values_than_it_could_hold_unpacked(
    *, count: int, is_answered: bool
) -> None:
    keys = tuple(StateKey(str(number)) for number in range(count))
    values = dict.fromkeys(keys, StoredValue(Value(b"x" * 131_072), 1))
    held = entry().filled(Reading(state=StatePart.ALL), view_of(values, count))
    names = held.view(Reading(state=StatePart.NAMES), 0.0)

    assert held.state.weight < 1_000
    assert names is not None
    assert set(names.names) == set(keys)
    for reading in (Reading(state=StatePart.ALL), Reading(state=StatePart.SOME, keys=keys)):
        view = held.view(reading, 0.0)
        assert (view is not None) == is_answered
        assert view is None or view.values == values
    assert held.view(Reading(state=StatePart.SOME, keys=keys[:1]), 0.0) is not None


def test_messages_that_a_setting_trimmed_are_not_shown() -> None:
    messages = [Message(seq, 1_000, b"{}") for seq in range(1, 11)]
    page = page_by_hand(messages, Window(limit=10))
    view = View(session=session(messages=10), now_ms=1_000, page=page, elements=elements_of(page))
    held = entry(messages=10).filled(Reading(window=Window(limit=10)), view)
    trimmed = held.verified(session(2, messages=4), 1_000, 0.0)

    answer = trimmed.view(Reading(window=Window(limit=5)), 0.0)
    assert answer is None or shown(answer.page) == shown(
        page_by_hand(messages[-4:], Window(limit=5))
    )


def test_a_session_without_messages_has_an_empty_page() -> None:
    answer = entry().view(Reading(window=Window(limit=5)), 0.0)

    assert answer is not None
    assert answer.page == Page()
