"""The parts of the plan add up to less than the emergency mark, whatever the quota is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.memory.plan import (
    ANSWER_COST,
    BODY_COST,
    FACTOR,
    GROWTH_BYTES,
    GROWTH_SHARE,
    LEAST_HOT_BYTES,
    LEAST_IN_FLIGHT_BYTES,
    Plan,
    Wanted,
    make_plan,
)
from service.memory.tiers import DEFAULT_MARKS
from service.model import Limits

MIB = 1_048_576
OWN_BYTES = 45 * MIB


def plan_of(quota_mb: int, own_bytes: int = OWN_BYTES, journal_mb: int = 8) -> Plan:
    wanted = Wanted(journal_bytes=journal_mb * MIB, replay_bytes=64 * MIB)
    return make_plan(quota_mb * MIB, own_bytes, DEFAULT_MARKS, Limits(), wanted)


@given(
    quota_mb=st.integers(96, 65_536), own_mb=st.integers(30, 70), journal_mb=st.integers(0, 1_024)
)
def test_all_that_may_be_held_stays_below_the_emergency_mark(
    quota_mb: int, own_mb: int, journal_mb: int
) -> None:
    plan = plan_of(quota_mb, own_mb * MIB, journal_mb)
    fixed_bytes = own_mb * MIB + GROWTH_BYTES
    at_rest_bytes = (plan.hot_bytes + plan.journal_bytes) * FACTOR
    at_most = fixed_bytes + at_rest_bytes + plan.replay_bytes + plan.in_flight_bytes
    mark_bytes = quota_mb * MIB * DEFAULT_MARKS.emergency_enter
    assert plan.is_tight == (at_most > mark_bytes + 2)


@pytest.mark.parametrize("quota_mb", [32, 64, 90])
def test_a_quota_that_is_too_small_is_told_and_still_serves(quota_mb: int) -> None:
    plan = plan_of(quota_mb, 60 * MIB)
    assert plan.is_tight
    assert (plan.hot_bytes, plan.in_flight_bytes) == (LEAST_HOT_BYTES, LEAST_IN_FLIGHT_BYTES)
    assert plan.journal_bytes == 0
    assert plan.limits.max_value_bytes == MIB


@given(quota_mb=st.integers(96, 65_536))
def test_the_largest_calls_fit_one_at_a_time(quota_mb: int) -> None:
    plan = plan_of(quota_mb)
    assert plan.limits.max_body_bytes * BODY_COST <= plan.in_flight_bytes * GROWTH_SHARE
    assert plan.limits.max_answer_bytes * ANSWER_COST <= plan.in_flight_bytes
    for name in ("max_message_bytes", "max_value_bytes"):
        assert getattr(plan.limits, name) <= plan.limits.max_answer_bytes / 2


@pytest.mark.parametrize(("quota_mb", "hot_mb", "in_flight_mb"), [(512, 157, 167), (256, 69, 64)])
def test_dynos_of_the_usual_sizes_keep_all_limits(
    quota_mb: int, hot_mb: int, in_flight_mb: int
) -> None:
    plan = plan_of(quota_mb)
    assert plan.hot_bytes // MIB == hot_mb
    assert plan.in_flight_bytes // MIB == in_flight_mb
    assert plan.limits == Limits()
    assert plan.journal_bytes == 8 * MIB


@given(quota_mb=st.integers(96, 65_536), own_mb=st.integers(30, 70))
def test_a_journal_takes_nobody_what_he_needs_at_least(quota_mb: int, own_mb: int) -> None:
    with_one, without = (plan_of(quota_mb, own_mb * MIB, size) for size in (1_024, 0))
    assert with_one.is_tight == without.is_tight
    assert without.journal_bytes == 0
    assert with_one.journal_bytes <= quota_mb * MIB / 4


def test_a_full_hot_tier_alone_is_no_pressure() -> None:
    for quota_mb in (96, 128, 256, 512, 1_024):
        used_bytes = OWN_BYTES + GROWTH_BYTES + plan_of(quota_mb).hot_bytes * FACTOR
        assert used_bytes < DEFAULT_MARKS.standard_enter * quota_mb * MIB


def test_a_small_quota_makes_the_limits_of_one_call_smaller() -> None:
    plan = plan_of(96)
    assert plan.limits != Limits()
    assert replace(plan.limits, max_body_bytes=0, max_answer_bytes=0, max_value_bytes=0) == replace(
        Limits(), max_body_bytes=0, max_answer_bytes=0, max_value_bytes=0
    )
    assert plan.limits.max_body_bytes > MIB
