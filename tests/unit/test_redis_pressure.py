"""Which tier Redis is in: the marks of memory, by what Redis says of itself."""

import pytest

from service.redis_pressure import tier_of
from service.vitals import StoreStatus, Tier

NORMAL, STANDARD, EMERGENCY = Tier.NORMAL, Tier.STANDARD, Tier.EMERGENCY


def told(used: int | None, most: int | None = 1_000) -> StoreStatus:
    return StoreStatus(connected=True, used_memory_bytes=used, max_memory_bytes=most)


@pytest.mark.parametrize(
    ("before", "used", "after"),
    [
        (NORMAL, 0, NORMAL),
        (NORMAL, 699, NORMAL),
        (NORMAL, 700, STANDARD),
        (NORMAL, 849, STANDARD),
        (NORMAL, 850, EMERGENCY),
        (NORMAL, 1_001, EMERGENCY),
        (STANDARD, 601, STANDARD),
        (STANDARD, 600, NORMAL),
        (STANDARD, 850, EMERGENCY),
        (EMERGENCY, 701, EMERGENCY),
        (EMERGENCY, 700, STANDARD),
        (EMERGENCY, 600, NORMAL),
    ],
)
def test_a_tier_has_a_mark_where_it_begins_and_a_lower_one_where_it_ends(
    before: Tier, used: int, after: Tier
) -> None:
    assert tier_of(before, told(used)) is after


@pytest.mark.parametrize("before", list(Tier))
def test_without_a_limit_nothing_presses(before: Tier) -> None:
    assert tier_of(before, told(10**12, None)) is NORMAL


@pytest.mark.parametrize("before", list(Tier))
def test_a_redis_that_does_not_tell_is_as_it_was(before: Tier) -> None:
    assert tier_of(before, told(None)) is before
