"""The closed loop: memory that answers to what the governor does."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.governor_scene import EMERGENCY, NORMAL, STANDARD, Scene, scene
from tests.memory_fakes import MIB, FakeEvict, FakeLever, FakeMemory

pytestmark = pytest.mark.anyio


async def test_a_quiet_bot_is_left_alone() -> None:
    quiet = scene(hot_bytes=55 * MIB)
    await quiet.pass_seconds(60)
    assert (quiet.changes, quiet.cleanups, quiet.memory.asked) == ([], 0, [])
    assert quiet.status().last_action is None


@pytest.mark.parametrize("stickiness", [0.0, 0.5, 1.0])
async def test_a_standard_cleanup_frees_down_to_the_leave_mark_and_not_further(
    stickiness: float,
) -> None:
    busy = Scene(FakeMemory(hot_bytes=65 * MIB, stickiness=stickiness))
    await busy.pass_seconds(20)
    assert busy.changes == [STANDARD, NORMAL]
    assert busy.memory.used_bytes() == 60 * MIB
    assert busy.memory.hot_bytes == 50 * MIB
    assert busy.cleanups == 1


async def test_an_emergency_is_relieved_in_two_steps() -> None:
    pressed = scene(hot_bytes=80 * MIB)
    await pressed.pass_seconds(30)
    assert pressed.changes == [EMERGENCY, STANDARD, NORMAL]
    assert [relief.tier for relief in pressed.memory.asked] == [EMERGENCY, STANDARD]
    assert pressed.memory.lowest_bytes == 60 * MIB


async def test_growth_is_answered_as_long_as_it_lasts_without_flapping() -> None:
    busy = scene()

    def grow() -> None:
        busy.memory.hot_bytes += MIB // 2

    await busy.pass_seconds(300, grow)
    status = busy.status()
    assert status.peak_bytes < 0.85 * busy.memory.quota_bytes
    assert busy.memory.lowest_bytes >= 0.6 * busy.memory.quota_bytes
    assert busy.changes == [STANDARD]
    assert 200 < busy.cleanups <= 300


async def test_slow_growth_does_not_flap_either() -> None:
    busy = scene(hot_bytes=59 * MIB)

    def grow() -> None:
        busy.memory.hot_bytes += MIB // 20

    await busy.pass_seconds(600, grow)
    assert EMERGENCY not in busy.changes
    # From leave to enter mark are 20 s of growth, and a descent takes 5 s.
    assert len(busy.changes) <= 2 * 600 / 20
    assert busy.memory.lowest_bytes >= 0.6 * busy.memory.quota_bytes - MIB


async def test_memory_that_nobody_can_free_is_not_hammered() -> None:
    stuck = scene(floor_bytes=80 * MIB)
    await stuck.pass_seconds(120)
    assert stuck.changes == [STANDARD]
    assert stuck.cleanups <= 9
    assert stuck.status().counters["memoryFreedBytes"] == 0


async def test_a_rise_to_emergency_is_answered_at_once() -> None:
    stuck = scene(floor_bytes=80 * MIB)
    await stuck.pass_seconds(60)
    before = stuck.cleanups
    stuck.memory.floor_bytes = 86 * MIB
    await stuck.pass_seconds(0.1)
    assert stuck.cleanups == before + 1


@settings(deadline=None, max_examples=50)  # up to 600 ticks each
@given(st.lists(st.integers(-8, 8), min_size=20, max_size=60), st.floats(0, 1))
def test_no_load_makes_it_evict_below_the_mark(steps: list[int], stickiness: float) -> None:
    busy = Scene(FakeMemory(hot_bytes=40 * MIB, stickiness=stickiness))
    moves = iter(steps * 10)

    def move() -> None:
        busy.memory.hot_bytes = max(0, busy.memory.hot_bytes + next(moves) * MIB)

    asyncio.run(busy.pass_seconds(len(steps), move))
    assert busy.memory.lowest_bytes >= 0.6 * busy.memory.quota_bytes


async def test_a_step_as_a_large_request_makes_it_enters_no_tier_early() -> None:
    quiet = scene(hot_bytes=45 * MIB)
    await quiet.pass_seconds(2)
    quiet.memory.hot_bytes += 14 * MIB
    await quiet.pass_seconds(5)
    assert quiet.changes == []


async def test_a_rise_during_a_cleanup_is_answered_by_the_next_turn() -> None:
    memory = FakeMemory(hot_bytes=62 * MIB)

    def grow() -> None:
        memory.floor_bytes = 40 * MIB

    busy = Scene(memory, levers=[FakeLever(name="growing", meanwhile=grow), FakeEvict(memory)])
    await busy.pass_seconds(0.2)
    assert [relief.tier for relief in memory.asked] == [STANDARD, EMERGENCY]
