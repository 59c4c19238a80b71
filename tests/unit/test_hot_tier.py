"""The hot tier: bounded in bytes, never ahead of what it was told, never behind a write."""

import gc
from collections.abc import Callable, Mapping
from functools import partial
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from service.chunks import pack_message, seal
from service.codec import pack_value
from service.hot import Entry, Fill, HotTier, shelf
from service.hot.entry import OVERHEAD_BYTES
from service.hot.packed_log import LEAST_LINES, PackedLog
from service.hot.shelf import BLOCK_BYTES
from service.lines import Columns
from service.model import (
    ETag,
    Message,
    Page,
    Reading,
    Session,
    SessionId,
    SessionRef,
    StateKey,
    StatePart,
    StoredValue,
    Touch,
    Value,
    View,
    Window,
)
from service.writes import Append, Appended
from tests.store_calls import page_by_hand, ref_of, shown

REF = ref_of("chat")


def session(rev: int = 1, gen: str = "gen", messages: int = 0, values: int = 0) -> Session:
    return Session(
        id=SessionId("chat"),
        etag=ETag(gen=gen, rev=rev),
        created_at_ms=1_000,
        updated_at_ms=1_000,
        renewed_at_ms=1_000,
        ttl_ms=60_000,
        touch=Touch.WRITE,
        max_age_ms=None,
        max_messages=100,
        message_count=messages,
        state_key_count=values,
    )


def entry(rev: int = 1, gen: str = "gen", messages: int = 0) -> Entry:
    return Entry.of(session(rev, gen, messages), 1_000, 0.0)


def view_of(values: Mapping[StateKey, StoredValue], count: int) -> View:
    """What a read brought of a state of so many keys."""
    return View(
        session=session(values=count),
        now_ms=1_000,
        values=values,
        packed={key: pack_value(stored.value, stored.tag) for key, stored in values.items()},
    )


def filled(hot: HotTier, new: Entry | None) -> Entry | None:
    """Let a read come back with an entry."""
    fill = hot.begin_fill(REF)
    hot.fill(REF, new, fill)
    hot.end_fill(REF, fill)
    return hot.get(REF)


def elements_of(page: Page) -> tuple[bytes, ...]:
    return tuple(pack_message(m.seq, m.at_ms, m.data) for m in page.messages)


def held_rev(hot: HotTier) -> int | None:
    held = hot.get(REF)
    return held.session.etag.rev if held else None


def advanced(new: Entry) -> Entry:
    etag = new.session.etag
    return entry(etag.rev + 1, etag.gen)


def test_a_fill_is_kept() -> None:
    hot = HotTier(10_000)
    new = entry(3)

    assert filled(hot, new) is new
    assert hot.status.sessions == 1
    assert hot.status.bytes == new.weight


WRITES: list[Callable[[HotTier, Fill], None]] = [
    lambda hot, _: hot.wrote(REF, ETag(gen="gen", rev=5), advanced),
    lambda hot, fill: hot.created(REF, entry(1, "new"), fill),
    lambda hot, _: hot.deleted(REF),
]


@pytest.mark.parametrize("write", WRITES)
def test_a_fill_that_a_write_overtook_is_thrown_away(
    write: Callable[[HotTier, Fill], None],
) -> None:
    hot = HotTier(10_000)
    filled(hot, entry(4))
    fill = hot.begin_fill(REF)
    write(hot, hot.begin_fill(REF))
    after = held_rev(hot)
    hot.fill(REF, entry(4), fill)

    assert fill.is_spoiled
    assert held_rev(hot) == after != 4


def test_a_fill_never_overwrites_a_later_revision() -> None:
    hot = HotTier(10_000)
    filled(hot, entry(5))
    filled(hot, entry(4))

    assert held_rev(hot) == 5


def test_a_fill_of_another_gen_replaces() -> None:
    hot = HotTier(10_000)
    filled(hot, entry(5))
    filled(hot, entry(1, "new"))

    assert held_rev(hot) == 1


def test_a_read_that_finds_nothing_forgets() -> None:
    hot = HotTier(10_000)
    filled(hot, entry(5))

    assert filled(hot, None) is None
    assert hot.status.bytes == 0


@pytest.mark.parametrize(
    ("rev", "gen", "kept"), [(5, "gen", 5), (6, "gen", None), (4, "gen", 4), (5, "new", None)]
)
def test_a_write_is_taken_over_only_if_it_follows_what_is_held(
    rev: int, gen: str, kept: int | None
) -> None:
    hot = HotTier(10_000)
    filled(hot, entry(4))
    hot.wrote(REF, ETag(gen=gen, rev=rev), advanced)

    assert held_rev(hot) == kept


@pytest.mark.parametrize(
    ("rev", "gen", "kept"), [(4, "gen", 4), (3, "gen", 4), (5, "gen", None), (4, "new", None)]
)
def test_a_write_that_changed_nothing_drops_what_lags_behind_it(
    rev: int, gen: str, kept: int | None
) -> None:
    hot = HotTier(10_000)
    filled(hot, entry(4))
    fill = hot.begin_fill(REF)
    hot.confirmed(REF, ETag(gen=gen, rev=rev), lambda entry: entry)

    assert held_rev(hot) == kept
    assert fill.is_spoiled


def test_a_creation_that_another_write_overtook_is_not_kept() -> None:
    hot = HotTier(10_000)
    creation = hot.begin_fill(REF)
    hot.wrote(REF, ETag(gen="gen", rev=2), advanced)
    hot.created(REF, entry(1), creation)

    assert hot.get(REF) is None


def test_a_creation_does_not_overwrite_what_a_read_saw_later() -> None:
    hot = HotTier(10_000)
    creation = hot.begin_fill(REF)
    filled(hot, entry(2))
    hot.created(REF, entry(1), creation)

    assert held_rev(hot) == 2


def test_what_was_used_least_recently_leaves_first() -> None:
    hot = HotTier(3 * OVERHEAD_BYTES)
    refs = [ref_of(name) for name in "abcd"]
    for ref in refs[:3]:
        hot.created(ref, entry(), hot.begin_fill(ref))
    hot.get(refs[0])
    hot.created(refs[3], entry(), hot.begin_fill(refs[3]))

    assert [hot.get(ref) is not None for ref in refs] == [True, False, True, True]
    assert hot.status.evicted == 1


def test_what_is_larger_than_the_tier_is_not_kept() -> None:
    hot = HotTier(OVERHEAD_BYTES - 1)

    assert filled(hot, entry()) is None
    assert hot.status.bytes == 0


def test_evicting_stops_as_soon_as_enough_is_free() -> None:
    hot = HotTier(100 * OVERHEAD_BYTES)
    for number in range(10):
        ref = ref_of(str(number))
        hot.created(ref, entry(), hot.begin_fill(ref))

    assert hot.evict(0) == 0
    assert hot.evict(OVERHEAD_BYTES + 1) == 2 * OVERHEAD_BYTES
    assert hot.evict(1 << 40) == 8 * OVERHEAD_BYTES
    assert hot.status.sessions == hot.status.bytes == 0
    assert hot.status.evicted == 10


def test_hits_and_misses_are_counted() -> None:
    hot = HotTier(1)
    for is_hit in (True, False, False):
        hot.count(is_hit=is_hit)

    assert (hot.status.hits, hot.status.misses) == (1, 2)


class Accounting(RuleBasedStateMachine):
    """Whatever is done, the bytes are those of the entries, and within the budget."""

    names = st.sampled_from([ref_of(name) for name in "abcdefgh"])

    def __init__(self) -> None:
        super().__init__()
        self.hot = self.make()

    def make(self) -> HotTier:
        return HotTier(6 * OVERHEAD_BYTES)

    @rule(ref=names, rev=st.integers(1, 5), size=st.integers(0, 5_000))
    def fill(self, ref: object, rev: int, size: int) -> None:
        assert isinstance(ref, type(REF))
        view = view_of({StateKey("k"): StoredValue(Value(Random(size).randbytes(size)), 1)}, 1)
        reading = Reading(state=StatePart.ALL)
        fill = self.hot.begin_fill(ref)
        self.hot.fill(ref, entry(rev).filled(reading, view), fill)
        self.hot.end_fill(ref, fill)

    @rule(ref=names, rev=st.integers(1, 6))
    def write(self, ref: object, rev: int) -> None:
        assert isinstance(ref, type(REF))
        self.hot.wrote(ref, ETag(gen="gen", rev=rev), advanced)

    @rule(ref=names)
    def delete(self, ref: object) -> None:
        assert isinstance(ref, type(REF))
        self.hot.deleted(ref)

    @rule(excess=st.integers(0, 4_000))
    def evict(self, excess: int) -> None:
        before = self.hot.status.bytes
        freed = self.hot.evict(excess)
        assert self.hot.status.bytes == before - freed <= before
        assert freed >= min(excess, before)

    @invariant()
    def bytes_are_true(self) -> None:
        entries = self.hot._entries.values()
        weight = sum(held.weight for held in entries)
        assert self.hot.status.bytes == weight + self.hot._shelf.bytes
        assert self.hot.status.sessions == len(entries) + len(self.hot._shelf)
        assert self.hot.status.bytes <= self.hot.budget_bytes
        assert not self.hot._fills


class AccountingOfAShelf(Accounting):
    """The same if all but what was used last is on the shelf."""

    def make(self) -> HotTier:
        return HotTier(1_000_000, at_hand_bytes=5_000 - BLOCK_BYTES)

    @rule(ref=Accounting.names)
    def use(self, ref: SessionRef) -> None:
        assert self.hot.get(ref) == self.hot.peek(ref)

    @rule(ref=Accounting.names)
    def trust(self, ref: SessionRef) -> None:
        self.hot.verify(ref, Fill())
        assert (ref in self.hot._verified) == (self.hot.peek(ref) is not None)

    @rule(ref=Accounting.names, key=st.text(max_size=5))
    def reshape(self, ref: SessionRef, key: str) -> None:
        view = view_of({StateKey(key): StoredValue(Value(key.encode()), 1)}, 1)
        reading = Reading(state=StatePart.ALL)
        self.hot.reshape(ref, "gen", lambda held: held.filled(reading, view))
        held = self.hot.peek(ref)
        if held is not None:
            answer = held.view(reading, 0.0)
            assert answer is not None
            assert answer.values == view.values

    @invariant()
    def only_what_is_held_is_trusted(self) -> None:
        assert all(self.hot.peek(ref) for ref in self.hot._verified)


TestAccounting = Accounting.TestCase
TestAccounting.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestAccountingOfAShelf = AccountingOfAShelf.TestCase
TestAccountingOfAShelf.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


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


def shelved(hot: HotTier, count: int = 8) -> list[SessionRef]:
    """Fill a tier that keeps nothing at hand; return whose entries are on its shelf."""
    refs = [ref_of(str(number)) for number in range(count)]
    for rev, ref in enumerate(refs, 1):
        hot.created(ref, entry(rev), hot.begin_fill(ref))
    assert not hot._entries
    return refs


@pytest.fixture
def put_away() -> HotTier:
    return HotTier(1_000_000, at_hand_bytes=-BLOCK_BYTES)


def test_what_is_on_the_shelf_is_held_as_what_is_at_hand(put_away: HotTier) -> None:
    refs = shelved(put_away)

    assert [held.session.etag.rev for held in map(put_away.peek, refs) if held] == [*range(1, 9)]
    assert put_away.get(refs[3]) == entry(4)
    put_away.wrote(refs[5], ETag(gen="gen", rev=7), advanced)
    assert put_away.peek(refs[5]) == entry(7)
    put_away.fill(refs[6], entry(2), Fill())
    assert put_away.peek(refs[6]) == entry(7)
    put_away.confirmed(refs[7], ETag(gen="other", rev=9), lambda held: held)
    assert put_away.peek(refs[7]) is None
    put_away.deleted(refs[0])
    assert put_away.peek(refs[0]) is None
    assert put_away.status.sessions == 6


def test_what_has_been_on_the_shelf_for_longest_leaves_first(put_away: HotTier) -> None:
    refs = shelved(put_away)
    put_away.verify(refs[0], Fill())
    put_away.get(refs[0])
    put_away.verify(refs[0], Fill())
    put_away.verify(refs[1], Fill())
    put_away.evict(1)

    assert put_away.peek(refs[0]) is not None
    assert put_away.peek(refs[1]) is None
    assert put_away._verified == {refs[0]}
    assert put_away.status.evicted == 1
    put_away.evict(1 << 30)
    assert put_away.status.bytes == put_away.status.sessions == 0


def test_sealing_does_not_make_a_session_that_is_on_the_shelf_warmer() -> None:
    hot = HotTier(1_000_000, at_hand_bytes=3_000 - BLOCK_BYTES)
    refs = [ref_of(str(number)) for number in range(6)]
    for ref in refs:
        hot.created(ref, entry(), hot.begin_fill(ref))
    assert refs[0] in hot._shelf
    kept = [*hot._entries]
    hot.reshape(refs[0], "gen", advanced)

    assert [*hot._entries] in ([refs[0], *kept], kept, [])
    assert hot.peek(refs[0]) == entry(2)


def test_without_memory_for_a_block_its_entries_are_dropped(
    put_away: HotTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(shelf, "mmap", refuse)
    shelved(put_away, 3)

    assert put_away.status.sessions == put_away.status.bytes == 0
    assert put_away.status.evicted == 3
