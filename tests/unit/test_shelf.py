"""The shelf: entries come back as they were put; blocks that have become sparse are made anew."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.codec import pack_value
from service.hot import Entry, Fill, HotTier
from service.hot.shelf import BLOCK_BYTES, OVERHEAD_BYTES, Shelf
from service.model import ETag, Reading, SessionRef, StateKey, StatePart, StoredValue, Value, View
from tests.hot_entries import advanced, entry, without_memory
from tests.store_calls import ref_of


def entry_of(number: int, size: int = 50) -> Entry:
    stored = StoredValue(Value(Random(number).randbytes(size)), 1)
    packed = {StateKey("key"): pack_value(stored.value, 1)}
    view = View(session=entry(1).session, now_ms=1, values={StateKey("key"): stored}, packed=packed)
    return entry(number).filled(Reading(state=StatePart.ALL), view)


def numbered(numbers: range, size: int = 50) -> list[tuple[SessionRef, Entry]]:
    return [(ref_of(str(number)), entry_of(number, size)) for number in numbers]


def test_entries_come_back_as_they_were_put() -> None:
    shelf = Shelf()
    put = numbered(range(1, 20)) + numbered(range(20, 22), BLOCK_BYTES)
    shelf.put(put)

    assert [(ref, shelf.peek(ref)) for ref, _ in put] == put
    assert len(shelf) == len(put)
    assert put[0][0] in shelf
    assert ref_of("other") not in shelf
    assert shelf.peek(ref_of("other")) is None


def test_the_block_in_front_leaves_with_what_is_still_in_it() -> None:
    shelf = Shelf()
    shelf.put(numbered(range(1, 5)))
    shelf.put(numbered(range(5, 9)))
    before = shelf.bytes
    shelf.discard(ref_of("2"))

    assert shelf.evict() == [ref_of("1"), ref_of("3"), ref_of("4")]
    assert len(shelf) == 4
    assert shelf.bytes == before / 2
    assert shelf.evict() == [ref_of(str(number)) for number in range(5, 9)]
    assert shelf.bytes == 0


def test_a_block_without_entries_is_gone() -> None:
    shelf = Shelf()
    shelf.put(numbered(range(1, 3)))
    shelf.discard(ref_of("1"))
    shelf.discard(ref_of("1"))
    assert shelf.bytes > OVERHEAD_BYTES
    shelf.discard(ref_of("2"))

    assert shelf.bytes == len(shelf) == 0


def test_blocks_of_which_half_is_gone_are_joined_with_what_is_put_next() -> None:
    shelf = Shelf()
    for start in range(0, 60, 20):
        shelf.put(numbered(range(start + 1, start + 21), 1_000))
    for number in range(1, 41, 2):
        shelf.discard(ref_of(str(number)))
    sparse = shelf.bytes
    shelf.put(numbered(range(100, 101)))

    assert len(shelf._blocks) == 2
    assert shelf.bytes < sparse - 15_000
    left = [*range(2, 41, 2), *range(41, 61), 100]
    assert len(shelf) == len(left)
    assert all(shelf.peek(ref_of(str(number))) for number in left)


def test_without_memory_for_a_block_sparse_ones_keep_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf = Shelf()
    shelf.put(numbered(range(1, 9)))
    for number in range(1, 7):
        shelf.discard(ref_of(str(number)))
    before = shelf.bytes
    with monkeypatch.context() as patched:
        without_memory(patched)
        with pytest.raises(OSError, match="memory"):
            shelf.put(numbered(range(9, 10)))
    assert (len(shelf), shelf.bytes) == (2, before)
    shelf.put(numbered(range(9, 10)))

    assert len(shelf._blocks) == 1
    assert all(shelf.peek(ref_of(str(number))) == entry_of(number) for number in (7, 8, 9))


def test_a_block_that_has_become_sparse_and_then_left_is_no_matter() -> None:
    shelf = Shelf()
    shelf.put(numbered(range(1, 5)))
    shelf.discard(ref_of("1"))
    shelf.discard(ref_of("2"))
    shelf.evict()
    shelf.put(numbered(range(5, 6)))

    assert len(shelf) == len(shelf._blocks) == 1


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "discard", "evict"]), st.integers(1, 12)), max_size=30
)


@given(steps=STEPS)
@settings(deadline=None)
def test_it_holds_what_a_dict_would(steps: list[tuple[str, int]]) -> None:
    shelf, known = Shelf(), dict[SessionRef, Entry]()
    for number, (what, count) in enumerate(steps):
        if what == "put":
            new = numbered(range(1_000 * number + 1, 1_000 * number + 1 + count))
            shelf.put(new)
            known.update(new)
        elif what == "discard":
            for ref in [*known][::count]:
                shelf.discard(ref)
                del known[ref]
        elif known:
            for ref in shelf.evict():
                del known[ref]
        assert {ref: shelf.peek(ref) for ref in known} == known
        assert len(shelf) == len(known)
        blocks = shelf._blocks.values()
        assert shelf.bytes == sum(b.weight for b in blocks) + OVERHEAD_BYTES * len(known)
        assert {ref for block in blocks for ref in block.refs} >= known.keys()


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
    without_memory(monkeypatch)
    shelved(put_away, 3)

    assert put_away.status.sessions == put_away.status.bytes == 0
    assert put_away.status.evicted == 3
