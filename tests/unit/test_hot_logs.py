"""Logs of the hot tier: which are open, what shortening frees, what the collector sees of them."""

import gc
from functools import partial

from msgspec.structs import replace

from service.chunks import pack_message, seal
from service.hot import Entry, Fill, HotTier
from service.hot.entry import OVERHEAD_BYTES
from service.hot.packed_log import LEAST_LINES, PackedLog
from service.lines import Columns
from service.model import (
    Reading,
    StateKey,
    StatePart,
    StoredValue,
    Touch,
    Value,
    Window,
)
from tests.hot_entries import (
    REF,
    advanced,
    entry,
    filled,
    view_of,
)
from tests.store_calls import ref_of


def test_what_was_rendered_longest_ago_is_closed_first_and_nothing_leaves_for_it() -> None:
    hot = HotTier(100 * OVERHEAD_BYTES)
    refs = [ref_of(str(number)) for number in range(12)]
    window = Window(limit=40)
    for ref in refs:
        elements = tuple(pack_message(seq, 1_000, b'{"n":"%d"}' % seq) for seq in range(1, 41))
        log = PackedLog.of(elements)
        held = replace(entry(messages=40), first_seq=1, last_seq=40, log=log)
        hot.created(ref, held, hot.begin_fill(ref))
        view = held.view(Reading(window=window), 0.0)
        assert view is not None
        assert view.page is not None
        hot.reshape(ref, "gen", partial(Entry.opened, lines=view.page.lines))
        assert hot.status.bytes == sum(each.weight for each in hot._entries.values())

    is_open = [bool(kept.log.lines) for kept in map(hot.peek, refs) if kept]
    assert is_open == sorted(is_open)
    assert 0 < sum(is_open) < len(refs) == hot.status.sessions
    assert hot.status.evicted == 0


def test_only_what_is_of_the_same_session_is_reshaped() -> None:
    hot = HotTier(10_000)
    held = filled(hot, entry(3))
    hot.reshape(REF, "other", advanced)
    hot.reshape(ref_of("none"), "gen", advanced)

    assert hot.peek(REF) is held


def full_of_logs(sessions: int, messages: int) -> HotTier:
    """A tier of sessions whose messages are sealed, in chunks of a few, and half of them open."""
    hot = HotTier(1 << 30)
    for number in range(sessions):
        seqs = range(1, messages + 1)
        columns = [Columns([seq], [1_000], [b'{"n":"%0200d"}' % seq]) for seq in seqs]
        log = PackedLog.of([seal(each) for each in columns])
        held = replace(entry(messages=messages), first_seq=1, last_seq=messages, log=log)
        hot.created(ref_of(str(number)), held, hot.begin_fill(ref_of(str(number))))
        if number % 2:
            view = held.view(Reading(window=Window(limit=messages)), 0.0)
            assert view is not None
            assert view.page is not None
            opened = partial(Entry.opened, lines=view.page.lines)
            hot.reshape(ref_of(str(number)), "gen", opened)
    return hot


def test_shortening_goes_by_slices_and_tells_what_it_has_freed() -> None:
    hot = full_of_logs(sessions=5, messages=2 * LEAST_LINES)
    before = hot.status
    freed = list(hot.shorten(slice_sessions=2))

    assert len(freed) == 3
    assert all(part > 0 for part in freed)
    assert sum(freed) == before.bytes - hot.status.bytes > before.bytes / 2
    assert hot.status.sessions == before.sessions
    assert hot.status.bytes == sum(each.weight for each in hot._entries.values())
    assert hot._open_bytes == 0
    assert hot._open == {}
    newest = hot._entries[ref_of("1")].view(Reading(window=Window(limit=LEAST_LINES)), 0.0)
    assert newest is not None
    assert newest.page is not None
    assert newest.page.next_seq is None
    assert list(hot.shorten()) == [0]


def test_what_leaves_while_the_tier_is_shortened_is_no_matter() -> None:
    hot = full_of_logs(sessions=3, messages=2 * LEAST_LINES)
    shortening = hot.shorten(slice_sessions=1)
    next(shortening)
    hot.deleted(ref_of("1"))
    next(shortening)
    next(shortening)

    assert next(shortening, None) is None
    assert [len(each.log.sealed) for each in hot._entries.values()] == [LEAST_LINES] * 2


def test_a_tier_that_holds_nothing_has_nothing_to_shorten() -> None:
    assert list(HotTier(10_000).shorten()) == []


def test_no_object_of_a_session_at_rest_is_in_the_collectors_sight() -> None:
    hot = full_of_logs(sessions=4, messages=3)
    for number in range(4):
        ref, held = ref_of(str(number)), hot._entries[ref_of(str(number))]
        write = view_of({StateKey("key"): StoredValue(Value(b"1"), 1)}, 1)
        state = held.filled(Reading(state=StatePart.ALL), write)
        hot.created(ref, state, hot.begin_fill(ref))
        hot.verify(ref, Fill())
    gc.collect()  # it stops to look at tuples that hold nothing that could be in a cycle

    parts: list[object] = [*hot._entries.keys(), *hot._entries.values()]
    for part in parts:  # which grows
        assert isinstance(part, Touch) or not gc.is_tracked(part), part
        parts += [getattr(part, name) for name in getattr(part, "__struct_fields__", ())]
        parts += part if isinstance(part, tuple) else ()
    assert gc.is_tracked(hot._entries)  # what would be told of
    assert len(parts) > 100
