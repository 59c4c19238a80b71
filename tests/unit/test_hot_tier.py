"""The hot tier: bounded in bytes, never ahead of what it was told, never behind a write."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.hot import Fill, HotTier
from service.hot.entry import OVERHEAD_BYTES
from service.hot.shelf import BLOCK_BYTES
from service.model import (
    ETag,
    Reading,
    SessionRef,
    StateKey,
    StatePart,
    StoredValue,
    Value,
)
from tests.hot_entries import REF, advanced, entry, filled, view_of
from tests.store_calls import ref_of


def held_rev(hot: HotTier) -> int | None:
    held = hot.get(REF)
    return held.session.etag.rev if held else None


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
