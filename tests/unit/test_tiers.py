import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.memory.tiers import DEFAULT_MARKS, TierState, advance, excess_bytes, next_tier
from service.vitals import MemoryReading, Tier

NORMAL, STANDARD, EMERGENCY = Tier.NORMAL, Tier.STANDARD, Tier.EMERGENCY


@pytest.mark.parametrize(
    ("current", "fraction", "expected"),
    [
        (NORMAL, 0.0, NORMAL),
        (NORMAL, 0.65, NORMAL),
        (NORMAL, 0.6999, NORMAL),
        (NORMAL, 0.70, STANDARD),
        (NORMAL, 0.8499, STANDARD),
        (NORMAL, 0.85, EMERGENCY),
        (NORMAL, 1.50, EMERGENCY),
        (STANDARD, 0.70, STANDARD),
        (STANDARD, 0.6001, STANDARD),
        (STANDARD, 0.60, NORMAL),
        (STANDARD, 0.10, NORMAL),
        (STANDARD, 0.85, EMERGENCY),
        (EMERGENCY, 0.90, EMERGENCY),
        (EMERGENCY, 0.7001, EMERGENCY),
        (EMERGENCY, 0.70, STANDARD),
        (EMERGENCY, 0.6001, STANDARD),
        (EMERGENCY, 0.60, NORMAL),
    ],
)
def test_a_tier_is_entered_at_one_mark_and_left_at_a_lower_one(
    current: Tier,
    fraction: float,
    expected: Tier,
) -> None:
    assert next_tier(current, fraction, DEFAULT_MARKS) is expected


@given(st.sampled_from(list(Tier)), st.floats(0, 2))
def test_a_decision_is_stable_under_the_same_use(current: Tier, fraction: float) -> None:
    once = next_tier(current, fraction, DEFAULT_MARKS)
    assert next_tier(once, fraction, DEFAULT_MARKS) is once


def test_a_rise_takes_no_time_and_a_descent_a_dwell() -> None:
    state = advance(TierState(), 0.9, DEFAULT_MARKS, 100.0)
    assert state == TierState(EMERGENCY)
    state = advance(state, 0.5, DEFAULT_MARKS, 101.0)
    assert state == TierState(EMERGENCY, 101.0)
    assert advance(state, 0.5, DEFAULT_MARKS, 105.9).tier is EMERGENCY
    assert advance(state, 0.5, DEFAULT_MARKS, 106.0) == TierState(NORMAL)


def test_a_dwell_that_is_interrupted_begins_anew() -> None:
    state = advance(TierState(STANDARD), 0.5, DEFAULT_MARKS, 100.0)
    state = advance(state, 0.65, DEFAULT_MARKS, 104.0)
    state = advance(state, 0.5, DEFAULT_MARKS, 104.5)
    assert advance(state, 0.5, DEFAULT_MARKS, 106.0).tier is STANDARD


def reading(used_bytes: int, quota_bytes: int = 1_000) -> MemoryReading:
    return MemoryReading(
        used_bytes=used_bytes, quota_bytes=quota_bytes, usage_source="", quota_source=""
    )


@pytest.mark.parametrize(
    ("tier", "used_bytes", "expected"),
    [(NORMAL, 990, 0), (STANDARD, 750, 150), (STANDARD, 600, 0), (EMERGENCY, 900, 200)],
)
def test_relief_is_what_lies_above_the_mark_at_which_the_tier_is_left(
    tier: Tier,
    used_bytes: int,
    expected: int,
) -> None:
    assert excess_bytes(tier, reading(used_bytes), DEFAULT_MARKS) == expected


@given(st.integers(1, 1 << 45), st.floats(0.7, 3.0), st.sampled_from([STANDARD, EMERGENCY]))
def test_relief_that_is_met_lowers_the_tier(quota: int, fraction: float, tier: Tier) -> None:
    before = reading(int(quota * fraction), quota)
    relieved = before.used_bytes - excess_bytes(tier, before, DEFAULT_MARKS)
    assert next_tier(tier, reading(relieved, quota).fraction, DEFAULT_MARKS) is not tier
