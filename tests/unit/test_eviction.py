"""How the app empties the hot tier when the governor asks for it."""

import pytest

from service.app import EVICTION_SLICE_BYTES, FLOOR_SHARE, _evictor
from service.hot import Entry, HotTier
from service.memory.levers import Relief
from service.model import ETag, Namespace, Session, SessionId, SessionRef, Touch
from service.vitals import Tier

pytestmark = pytest.mark.anyio

BUDGET_BYTES = 4 * EVICTION_SLICE_BYTES


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


@pytest.mark.parametrize("excess_bytes", [1, EVICTION_SLICE_BYTES + 1, 2 * BUDGET_BYTES])
async def test_the_standard_tier_evicts_what_is_asked_for(hot: HotTier, excess_bytes: int) -> None:
    before_bytes = hot.status.bytes
    freed = await _evictor(hot)(Relief(tier=Tier.STANDARD, excess_bytes=excess_bytes))

    assert freed == before_bytes - hot.status.bytes
    assert min(excess_bytes, before_bytes) <= freed <= excess_bytes + 2_000


@pytest.mark.parametrize("excess_bytes", [1, 2 * BUDGET_BYTES])
async def test_the_emergency_tier_leaves_the_floor(hot: HotTier, excess_bytes: int) -> None:
    floor_bytes = FLOOR_SHARE * BUDGET_BYTES
    await _evictor(hot)(Relief(tier=Tier.EMERGENCY, excess_bytes=excess_bytes))
    assert floor_bytes - 2_000 <= hot.status.bytes <= floor_bytes

    again = await _evictor(hot)(Relief(tier=Tier.EMERGENCY, excess_bytes=excess_bytes))
    assert again == 0
