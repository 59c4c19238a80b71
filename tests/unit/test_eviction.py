"""How the hot tier is emptied when the governor asks for it."""

from dataclasses import dataclass, field

import pytest

from service.hot import Entry, HotTier
from service.hot.shelf import BLOCK_BYTES
from service.memory.levers import PORTION_BYTES, STEP_BYTES, Evict, Relief
from service.model import ETag, Namespace, Session, SessionId, SessionRef, Touch
from service.vitals import Tier
from tests.memory_fakes import MIB, FakeClock

pytestmark = pytest.mark.anyio

BUDGET_BYTES = 4 * MIB
FLOOR_BYTES = BUDGET_BYTES // 10


@pytest.fixture
def hot() -> HotTier:
    """Give a hot tier that is full."""
    hot = HotTier(BUDGET_BYTES)
    number = 0
    while hot.status.evicted == 0:
        number += 1
        ref = SessionRef(namespace=Namespace("default"), id=SessionId(str(number)))
        hot.fill(ref, Entry.of(session(ref.id), 0, 0.0), hot.begin_fill(ref))
    return hot


def session(sid: SessionId) -> Session:
    return Session(
        id=sid,
        etag=ETag(gen="gen", rev=1),
        created_at_ms=0,
        updated_at_ms=0,
        renewed_at_ms=0,
        ttl_ms=None,
        touch=Touch.WRITE,
        max_age_ms=None,
        max_messages=1,
        message_count=0,
        state_key_count=0,
    )


async def keep() -> None:
    """Give nothing back."""


def lever(hot: HotTier) -> Evict:
    return Evict(
        hot.evict,
        lambda: hot.status.bytes,
        floor_bytes=FLOOR_BYTES,
        give_back=keep,
        clock=FakeClock(),
    )


@pytest.mark.parametrize("excess_bytes", [1, MIB + 1, 2 * BUDGET_BYTES])
async def test_the_standard_tier_evicts_what_is_asked_for(hot: HotTier, excess_bytes: int) -> None:
    before_bytes, relief = hot.status.bytes, Relief(tier=Tier.STANDARD, excess_bytes=excess_bytes)
    assert lever(hot).available()
    assert lever(hot).estimate(relief) == min(excess_bytes, before_bytes)
    freed = await lever(hot).run(relief)
    assert freed == before_bytes - hot.status.bytes
    assert min(excess_bytes, before_bytes) <= freed <= excess_bytes + BLOCK_BYTES


@pytest.mark.parametrize("excess_bytes", [1, 2 * BUDGET_BYTES])
async def test_the_emergency_tier_leaves_the_floor(hot: HotTier, excess_bytes: int) -> None:
    relief = Relief(tier=Tier.EMERGENCY, excess_bytes=excess_bytes)
    await lever(hot).run(relief)
    assert FLOOR_BYTES - STEP_BYTES <= hot.status.bytes <= FLOOR_BYTES
    assert await lever(hot).run(relief) == 0


def test_for_who_cannot_wait_it_evicts_at_once(hot: HotTier) -> None:
    before_bytes, relief = hot.status.bytes, Relief(tier=Tier.STANDARD, excess_bytes=MIB)
    assert lever(hot).run_at_once(relief) == before_bytes - hot.status.bytes >= MIB


@dataclass
class Heap:
    """Bytes that are dropped in steps which take 0.4 ms each, and given back."""

    clock: FakeClock = field(default_factory=FakeClock)
    held_bytes: int = 100 * MIB
    dropped_bytes: int = 0
    steps: list[int] = field(default_factory=list)
    given_back: list[int] = field(default_factory=list)

    def drop(self, wanted: int) -> int:
        self.steps.append(wanted)
        self.clock.seconds += 0.0004
        self.held_bytes -= wanted
        self.dropped_bytes += wanted
        return wanted

    async def give_back(self) -> None:
        self.given_back.append(self.dropped_bytes)
        self.dropped_bytes = 0

    def lever(self) -> Evict:
        return Evict(
            self.drop,
            lambda: self.held_bytes,
            floor_bytes=0,
            give_back=self.give_back,
            clock=self.clock,
        )


async def test_what_is_evicted_is_given_back_in_portions_but_for_the_last() -> None:
    heap = Heap()
    await heap.lever().run(Relief(tier=Tier.STANDARD, excess_bytes=80 * MIB))
    assert heap.given_back == [PORTION_BYTES] * 2
    assert heap.dropped_bytes == 16 * MIB


def test_others_have_their_turn_after_a_millisecond() -> None:
    heap = Heap()
    evicting = heap.lever().run(Relief(tier=Tier.STANDARD, excess_bytes=80 * MIB))
    evicting.send(None)
    assert heap.steps == [STEP_BYTES] * 3
    evicting.close()


async def test_a_slice_ends_with_what_is_asked_for() -> None:
    heap = Heap()
    assert await heap.lever().run(Relief(tier=Tier.STANDARD, excess_bytes=100_000)) == 100_000
    assert heap.steps == [STEP_BYTES, 100_000 - STEP_BYTES]
