"""What came of the messages of a session: rendered as a page, or joined with what came before."""

from typing import Any, NamedTuple

from msgspec.structs import replace

from service.chunks import columns_of, is_chunk, message_count, read_span
from service.model import Lines, Page, Span, Window


class Messages(NamedTuple):
    """What a script said of the messages: the ends of the log, and elements that hold the window.

    `only` is the seq of the one message that the window's digest means, 0 if there is none.
    """

    first_seq: int | None
    last_seq: int | None
    is_cut: bool
    only: int
    elements: list[bytes]


def messages_of(window: list[Any]) -> Messages:
    """Return what a script said of the messages."""
    first_seq, last_seq, is_cut, only, slices = window
    elements = slices[0] if len(slices) == 1 else [each for part in slices for each in part]
    return Messages(first_seq, last_seq, bool(is_cut), only, elements)


def page_of(messages: Messages, window: Window, most_bytes: int) -> Page:
    """Render what the window lets in, or as much of that as an answer holds."""
    bounded = _bounded(window, messages)
    columns = columns_of(messages.elements)
    columns = columns.of(columns.span(bounded))
    fitting = columns.fitting(most_bytes, newest=window.is_reverse)
    lines = Lines.of(columns.of(fitting))
    return Page(
        lines=lines,
        span=Span(0, len(lines)),
        first_seq=messages.first_seq,
        last_seq=messages.last_seq,
        is_cut=messages.is_cut or len(lines) < len(columns.seqs),
    )


def _bounded(window: Window, messages: Messages) -> Window:
    """Return the window within what is held: an element may hold more."""
    first_seq, only = messages.first_seq or 1, messages.only
    if window.digest:
        return replace(window, after=max(only, first_seq) - 1, before=only + 1)
    if window.after is not None and window.after >= first_seq:
        return window
    return replace(window, after=first_seq - 1)


def rest_of(window: Window, elements: list[bytes]) -> Window:
    """Return the window of what the elements that came do not hold."""
    if not elements:
        return window
    # What a chunk at the bounded end holds may be out of bounds.
    sure = elements[: -1 if is_chunk(elements[-1]) else None] if window.newest else elements[1:]
    limit = max(1, window.limit - sum(map(message_count, sure)))
    if window.newest:
        return replace(window, limit=limit, before=read_span(elements[0]).start)
    return replace(window, limit=limit, after=read_span(elements[-1]).end - 1)


def is_overlapping(messages: Messages, following: Messages, window: Window) -> bool:
    """Whether a part has messages that came before: they were sealed in between."""
    if not following.elements:
        return False
    pair = (following, messages) if window.newest else (messages, following)
    return read_span(pair[0].elements[-1]).end > read_span(pair[1].elements[0]).start


def joined(messages: Messages, following: Messages, window: Window) -> Messages:
    """Return both parts as one."""
    pair = (following, messages) if window.newest else (messages, following)
    return messages._replace(elements=pair[0].elements + pair[1].elements, is_cut=following.is_cut)
