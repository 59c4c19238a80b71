"""Rendered messages: cut, joined and taken apart they are the messages that they were made of."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from service.clock import rfc3339
from service.lines import Columns, Lines, Message, Span, Window

TEXTS = st.sampled_from([b"{}", b'{"a":"\xc3\xa9"}', b'{"seq":1,"message":{}}', b'{"n":[1,{}]}'])


@st.composite
def columns(draw: st.DrawFn) -> Columns:
    texts = draw(st.lists(TEXTS, max_size=8))
    steps = draw(st.lists(st.integers(1, 10**6), min_size=len(texts), max_size=len(texts)))
    waits = draw(st.lists(st.integers(0, 10**9), min_size=len(texts), max_size=len(texts)))
    seqs = [sum(steps[: i + 1]) for i in range(len(texts))]
    return Columns(seqs, [sum(waits[: i + 1]) for i in range(len(texts))], texts)


def messages_of(parts: Columns) -> list[Message]:
    return [Message(*each) for each in zip(*parts, strict=True)]


def messages_in(lines: Lines) -> list[Message]:
    return list(lines.messages(0, len(lines)))


@given(parts=columns())
def test_lines_are_what_an_answer_has(parts: Columns) -> None:
    lines = Lines.of(parts)

    assert orjson.loads(b"[%b]" % lines.data) == [
        {"seq": seq, "at": rfc3339(at), "message": orjson.loads(text)}
        for seq, at, text in zip(*parts, strict=True)
    ]
    assert messages_in(lines) == messages_of(parts) == messages_of(lines.columns())
    assert len(lines) == len(parts.seqs)


@given(parts=columns(), start=st.integers(0, 8), end=st.integers(0, 8), middle=st.integers(0, 8))
def test_lines_are_cut_and_joined_as_lists_are(
    parts: Columns, start: int, end: int, middle: int
) -> None:
    lines, messages = Lines.of(parts), messages_of(parts)

    assert messages_in(lines[start:end]) == messages[start:end]
    assert lines[start:end].data == Lines.of(parts.of(Span(start, end))).data
    joined = lines[:middle] + lines[middle:]
    assert (messages_in(joined), joined.data) == (messages, lines.data)
    assert list(lines.messages(start, min(end, len(lines)))) == messages[start:end]


@given(parts=columns(), most=st.integers(0, 60), limit=st.integers(0, 9), newest=st.booleans())
def test_rendered_or_not_a_window_lets_the_same_in(
    parts: Columns, most: int, limit: int, *, newest: bool
) -> None:
    for window in (
        Window(limit=limit, newest=newest),
        Window(limit=limit, newest=newest, max_bytes=most),
        Window(limit=9, after=10**5, before=10**6, since_ms=10**8, newest=newest),
    ):
        span = parts.span(window)
        assert Lines.of(parts).span(window) == span
        if window.max_bytes is not None:
            assert sum(map(len, parts.of(span).texts)) <= most


def test_no_lines_weigh_nothing_and_any_more_than_their_bytes() -> None:
    lines = Lines.of(Columns([1], [2], [b"{}"]))

    assert Lines().weight == 0
    assert lines.weight > len(lines.data)
