"""The leak sense: it hears growth that nothing explains, and neither bursts nor noise."""

import logging
from collections.abc import Callable
from itertools import count
from random import Random

import pytest

from service.memory.leak import COARSE_SECONDS, FINE_SECONDS, WINDOWS, Leak, LeakStatus

MIB = 1_048_576
QUOTA_BYTES = 512 * MIB
BASE_BYTES = 60 * MIB
FINE_SPAN = FINE_SECONDS * (WINDOWS + 1)
COARSE_SPAN = COARSE_SECONDS * (WINDOWS + 1)

Usage = Callable[[float], tuple[float, float]]
"""Bytes used and bytes accounted at a second."""


def watched(usage: Usage, seconds: float, step_seconds: float = 2.0) -> Leak:
    leak = Leak(QUOTA_BYTES)
    for number in count():
        now = number * step_seconds
        if now > seconds:
            return leak
        used_bytes, accounted_bytes = usage(now)
        leak.add(now, int(used_bytes), int(accounted_bytes))
    raise AssertionError


def leaking(mib_per_hour: float) -> Usage:
    return lambda now: (BASE_BYTES + mib_per_hour * MIB * now / 3_600, 0)


def noisy(usage: Usage, most_mib: int, seed: int = 1) -> Usage:
    dice = Random(seed)

    def use(now: float) -> tuple[float, float]:
        used, accounted = usage(now)
        return used + dice.random() * most_mib * MIB, accounted

    return use


def warming_up(now: float) -> tuple[float, float]:
    return BASE_BYTES + 40 * MIB * min(1.0, now / 240), 0


def burst_that_stays(now: float) -> tuple[float, float]:
    return BASE_BYTES + 90 * MIB * (now > FINE_SPAN / 2), 0


def three_steps(now: float) -> tuple[float, float]:
    return BASE_BYTES + 30 * MIB * (now // 300), 0


def sawtooth(now: float) -> tuple[float, float]:
    return BASE_BYTES + 80 * MIB * (now % 300) / 300, 0


def hot_tier_that_fills(now: float) -> tuple[float, float]:
    held = 150 * MIB * now / FINE_SPAN
    return BASE_BYTES + 1.15 * held, held


def hot_tier_that_was_evicted_and_fills_again(now: float) -> tuple[float, float]:
    return BASE_BYTES + 100 * MIB, 100 * MIB * (now % 700) / 700


def bursts_that_get_rarer(now: float) -> tuple[float, float]:
    under_way = max(0.0, 100 - now / 10) * MIB * (now % 60 < 40)
    return BASE_BYTES + under_way / 2, under_way


@pytest.mark.parametrize(
    "usage",
    [
        noisy(leaking(0), 30),
        warming_up,
        burst_that_stays,
        three_steps,
        sawtooth,
        hot_tier_that_fills,
        hot_tier_that_was_evicted_and_fills_again,
        bursts_that_get_rarer,
        leaking(20),
        noisy(leaking(20), 30),
    ],
)
def test_what_is_no_leak_is_not_called_one_in_a_quarter_of_an_hour(usage: Usage) -> None:
    status = watched(usage, FINE_SPAN).status

    assert not status.is_suspected
    assert status.windows == WINDOWS


def leaking_beside_a_hot_tier(now: float) -> tuple[float, float]:
    held = 50 * MIB * (now % 500) / 500
    return BASE_BYTES + 200 * MIB * now / 3_600 + 1.2 * held, held


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("usage", [leaking(80), noisy(leaking(150), 15), leaking_beside_a_hot_tier])
def test_a_fast_leak_is_called_one_in_a_quarter_of_an_hour(usage: Usage, seed: int) -> None:
    status = watched(noisy(usage, 2, seed), FINE_SPAN).status

    assert status.is_suspected
    assert status.window_seconds == FINE_SECONDS
    assert status.slope_bytes_per_hour is not None
    assert 70 * MIB < status.slope_bytes_per_hour < 250 * MIB


def test_a_slow_leak_is_called_one_in_four_hours() -> None:
    status = watched(noisy(leaking(6), 20), COARSE_SPAN).status

    assert status.is_suspected
    assert status.window_seconds == COARSE_SECONDS
    assert status.slope_bytes_per_hour == pytest.approx(6 * MIB, rel=0.3)


def test_noise_is_not_called_a_slow_leak() -> None:
    assert not watched(noisy(leaking(0), 30), COARSE_SPAN).status.is_suspected


def test_a_leak_that_has_ended_is_not_called_one_any_more() -> None:
    def use(now: float) -> tuple[float, float]:
        return BASE_BYTES + 100 * MIB * min(now, FINE_SPAN) / 3_600, 0

    assert watched(use, FINE_SPAN).status.is_suspected
    assert not watched(use, 2 * FINE_SPAN).status.is_suspected


def test_it_says_nothing_before_it_has_seen_enough() -> None:
    leak = watched(leaking(1_000), 5 * FINE_SECONDS)

    assert leak.status == LeakStatus(windows=5)
    assert Leak(QUOTA_BYTES).status == LeakStatus()


def test_a_process_that_stood_still_has_fewer_windows() -> None:
    leak = Leak(QUOTA_BYTES)
    for now in (0.0, 1.0, 5_000.0, 5_001.0):
        leak.add(now, BASE_BYTES, 0)

    assert leak.status.windows == 1


def test_a_leak_is_logged_once_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        watched(leaking(0), 3 * FINE_SPAN)
        assert caplog.messages == []
        watched(leaking(100), 3 * FINE_SPAN)

    (message,) = caplog.messages
    assert "grows by 100.0 MB an hour" in message
    assert "`scripts/memctl leak`" in message
