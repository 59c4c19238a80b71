"""The shelf: entries come back as they were put; blocks that have become sparse are made anew."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from service.codec import pack_value
from service.hot import Entry
from service.hot.shelf import BLOCK_BYTES, OVERHEAD_BYTES, Shelf
from service.model import Reading, SessionRef, StateKey, StatePart, StoredValue, Value, View
from tests.store_calls import ref_of
from tests.unit.test_hot_tier import entry


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
