import pytest

from service.memory.pace import Pace
from service.vitals import MemoryReading


def reading(used_bytes: int) -> MemoryReading:
    return MemoryReading(used_bytes=used_bytes, quota_bytes=1_000, usage_source="", quota_source="")


def test_a_run_that_brings_nothing_makes_the_next_one_wait_longer() -> None:
    pace, now = Pace(), 100.0
    waits = []
    for _ in range(7):
        pace.record(now, asked_bytes=100, freed_bytes=0, used_bytes=800, cost_seconds=0)
        began = now
        while not pace.is_due(now, reading(800)):
            now += 0.5
        waits.append(now - began)
    assert waits == [2, 4, 8, 16, 30, 30, 30]


def test_a_run_that_brings_something_makes_the_pace_quick_again() -> None:
    pace = Pace()
    pace.record(100.0, asked_bytes=100, freed_bytes=0, used_bytes=800, cost_seconds=0)
    pace.record(102.0, asked_bytes=100, freed_bytes=50, used_bytes=750, cost_seconds=0)
    assert not pace.is_due(102.9, reading(750))
    assert pace.is_due(103.0, reading(750))


def test_growth_is_answered_at_once() -> None:
    pace = Pace()
    for _ in range(5):
        pace.record(100.0, asked_bytes=100, freed_bytes=0, used_bytes=800, cost_seconds=0)
    assert not pace.is_due(100.1, reading(849))
    assert pace.is_due(100.1, reading(850))


@pytest.mark.parametrize("used_bytes", [800, 950])
def test_runs_take_a_twentieth_of_the_time_at_most(used_bytes: int) -> None:
    pace = Pace()
    pace.record(100.0, asked_bytes=100, freed_bytes=50, used_bytes=800, cost_seconds=0.2)
    assert not pace.is_due(103.7, reading(used_bytes))
    assert pace.is_due(103.9, reading(used_bytes))


def test_a_rise_of_the_tier_waits_for_nobody() -> None:
    pace = Pace()
    pace.record(100.0, asked_bytes=100, freed_bytes=0, used_bytes=800, cost_seconds=0.2)
    pace.reset()
    assert pace.is_due(100.0, reading(800))
