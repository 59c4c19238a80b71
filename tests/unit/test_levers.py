import gc
import weakref

import pytest

from service.memory.levers import Collect, Evict, Lever, MallocTrim, Relief, freeze_heap
from service.memory.machine import own_rss_bytes
from service.vitals import Tier
from tests.memory_fakes import MIB, FakeMemory

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


async def test_eviction_is_asked_for_what_is_above_the_mark_and_believed_in_its_count() -> None:
    memory = FakeMemory(hot_bytes=3 * MIB)
    lever = Evict(memory.evict)
    assert lever.available()
    assert await lever.run(STANDARD) == 3 * MIB
    assert memory.asked == [STANDARD]


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


def test_a_libc_without_a_trim_says_so() -> None:
    assert not MallocTrim(own_rss_bytes, library=object()).available()


def test_the_heap_of_boot_is_frozen() -> None:
    try:
        freeze_heap()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_all_levers_have_names_of_their_own() -> None:
    all_levers: list[Lever] = [
        Evict(FakeMemory().evict),
        Collect(own_rss_bytes),
        MallocTrim(own_rss_bytes),
    ]
    assert [lever.name for lever in all_levers] == ["evict", "collect", "malloc_trim"]
