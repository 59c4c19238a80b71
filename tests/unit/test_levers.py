import gc
import weakref

import pytest

from service.memory.cleanup import LEVER_SECONDS
from service.memory.levers import (
    CloseListeners,
    Collect,
    Evict,
    Lever,
    MallocTrim,
    Offload,
    Relief,
    Shorten,
    freeze_heap,
)
from service.memory.listeners import Listeners
from service.memory.machine import own_rss_bytes
from service.vitals import Tier
from tests.memory_fakes import MIB, FakeClock

pytestmark = pytest.mark.anyio

STANDARD = Relief(tier=Tier.STANDARD, excess_bytes=5 * MIB)
EMERGENCY = Relief(tier=Tier.EMERGENCY, excess_bytes=5 * MIB)


class Falling:
    """Memory in use that is less at each look."""

    def __init__(self, *looks: int) -> None:
        self._looks = iter(looks)

    def __call__(self) -> int:
        return next(self._looks)


class Ring:
    """Garbage that only the cyclic collector finds."""

    def __init__(self) -> None:
        self.itself = self


async def test_a_collection_frees_by_how_much_the_use_has_fallen() -> None:
    assert Collect(Falling(900, 400)).available()
    assert await Collect(Falling(900, 400)).run(STANDARD) == 500


async def test_memory_that_grew_meanwhile_was_not_freed() -> None:
    assert await Collect(Falling(400, 900)).run(STANDARD) == 0


async def test_an_emergency_collects_all_generations_and_standard_only_the_young() -> None:
    ring = Ring()
    alive = weakref.ref(ring)
    gc.collect(1)
    del ring
    gc.disable()
    try:
        await Collect(own_rss_bytes).run(STANDARD)
        assert alive() is not None
        await Collect(own_rss_bytes).run(EMERGENCY)
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not MallocTrim(own_rss_bytes).available(), reason="no malloc_trim in this libc")
async def test_a_trim_gives_back_what_lies_free_below_what_is_in_use() -> None:
    blobs = [bytes(65_536) for _ in range(512)]
    pin = bytes(65_536)
    del blobs
    assert await MallocTrim(own_rss_bytes).run(STANDARD) > 16 * MIB
    assert len(pin) == 65_536


async def test_a_libc_without_a_trim_says_so_and_is_left_alone() -> None:
    lever = MallocTrim(own_rss_bytes, library=object())
    assert not lever.available()
    await lever.give_back()


def test_the_heap_of_boot_is_frozen() -> None:
    try:
        freeze_heap()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def all_levers() -> list[Lever]:
    async def give_back() -> None:
        pass

    async def flush(_: float) -> int:
        return 0

    return [
        Offload(flush, lambda: 7),
        Evict(lambda _: 0, lambda: 9, floor_bytes=1, give_back=give_back, clock=FakeClock()),
        Shorten(lambda: iter((3, 4))),
        CloseListeners(Listeners(FakeClock())),
        Collect(own_rss_bytes),
        MallocTrim(own_rss_bytes),
    ]


def test_all_levers_have_names_of_their_own_and_the_harsh_ones_wait_for_an_emergency() -> None:
    assert [(lever.name, lever.tier) for lever in all_levers()] == [
        ("offload", Tier.STANDARD),
        ("evict", Tier.STANDARD),
        ("shorten", Tier.EMERGENCY),
        ("close_listeners", Tier.EMERGENCY),
        ("collect", Tier.STANDARD),
        ("malloc_trim", Tier.STANDARD),
    ]


def test_what_is_not_known_before_is_estimated_as_nothing() -> None:
    assert [lever.estimate(STANDARD) for lever in all_levers()] == [7, 9, 0, 0, 0, 0]


async def test_the_journal_is_written_and_an_emergency_waits_longer_for_it() -> None:
    asked = list[float]()

    async def flush(seconds: float) -> int:
        asked.append(seconds)
        return 300

    lever = Offload(flush, lambda: 500)
    assert lever.available()
    assert [await lever.run(relief) for relief in (STANDARD, EMERGENCY)] == [300, 300]
    assert 0 < asked[0] < asked[1] < LEVER_SECONDS


async def test_hot_chats_are_shortened_and_the_count_is_believed() -> None:
    lever = Shorten(lambda: iter((3, 4)))
    assert lever.available()
    assert await lever.run(EMERGENCY) == 7


async def test_listeners_that_are_old_are_hung_up_on_and_what_waited_for_them_counts() -> None:
    clock, closed = FakeClock(), list[str]()
    listeners = Listeners(clock)
    listeners.add("events", close=lambda: closed.append("old"), queued_bytes=lambda: 300)
    clock.seconds += 60
    listeners.add("events", close=lambda: closed.append("new"), queued_bytes=lambda: 50)
    lever = CloseListeners(listeners)
    assert lever.available()
    assert lever.estimate(EMERGENCY) == 350
    assert await lever.run(EMERGENCY) == 300
    assert closed == ["old"]
