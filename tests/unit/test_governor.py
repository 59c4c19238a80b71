import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.memory import cleanup
from service.memory.governor import Governor, GovernorStatus, Manager, Policy
from service.memory.levers import Evict, Lever, Relief
from service.memory.pace import Growth, Pace
from service.memory.tiers import DEFAULT_MARKS, TierState, advance, excess_bytes, next_tier
from service.vitals import MemoryReading, Tier
from tests.memory_fakes import MIB, FakeClock, FakeLever, FakeMemory, FakeTrim

pytestmark = pytest.mark.anyio

NORMAL, STANDARD, EMERGENCY = Tier.NORMAL, Tier.STANDARD, Tier.EMERGENCY
RUNNING_STANDARD = "🧹 Running standard memory cleanup..."
RUNNING_EMERGENCY = "🚨 Memory usage critical! Running emergency cleanup..."


@dataclass
class Scene:
    """A governor over memory that answers to it, in a time that only `pass_seconds` moves."""

    memory: FakeMemory = field(default_factory=FakeMemory)
    clock: FakeClock = field(default_factory=FakeClock)
    levers: list[Lever] = field(default_factory=list)
    policy: Policy = field(default_factory=Policy)
    tiers: list[Tier] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.levers = self.levers or [Evict(self.memory.evict), FakeTrim(self.memory)]
        self.governor = Governor(self.memory, self.levers, clock=self.clock, policy=self.policy)

    async def pass_seconds(
        self,
        seconds: float,
        load: Callable[[], None] = lambda: None,
    ) -> None:
        """Ten ticks a second; `load` does before each what the service would do meanwhile."""
        for _ in range(round(seconds * 10)):
            self.clock.seconds += 0.1
            load()
            await self.governor.tick()
            self.tiers.append(self.governor.status.tier)

    @property
    def changes(self) -> list[Tier]:
        """The tiers in the order in which they were entered."""
        pairs = zip([NORMAL, *self.tiers], self.tiers, strict=False)
        return [after for before, after in pairs if after is not before]

    @property
    def cleanups(self) -> int:
        return self.status().counters["memoryCleanups"]

    def status(self) -> GovernorStatus:
        return self.governor.status


def scene(*, floor_bytes: int = 10 * MIB, hot_bytes: int = 0) -> Scene:
    return Scene(FakeMemory(floor_bytes=floor_bytes, hot_bytes=hot_bytes))


def broken(memory: FakeMemory, error: Exception | None = None) -> None:
    memory.error = error or OSError("the kernel does not tell")


# The decision


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


# The pace


def test_a_run_that_brings_nothing_makes_the_next_one_wait_longer() -> None:
    pace, now = Pace(), 100.0
    waits = []
    for _ in range(7):
        pace.record(now, asked_bytes=100, freed_bytes=0, used_bytes=800)
        began = now
        while not pace.is_due(now, reading(800)):
            now += 0.5
        waits.append(now - began)
    assert waits == [2, 4, 8, 16, 30, 30, 30]


def test_a_run_that_brings_something_makes_the_pace_quick_again() -> None:
    pace = Pace()
    pace.record(100.0, asked_bytes=100, freed_bytes=0, used_bytes=800)
    pace.record(102.0, asked_bytes=100, freed_bytes=50, used_bytes=750)
    assert not pace.is_due(102.9, reading(750))
    assert pace.is_due(103.0, reading(750))


def test_growth_is_answered_at_once() -> None:
    pace = Pace()
    for _ in range(5):
        pace.record(100.0, asked_bytes=100, freed_bytes=0, used_bytes=800)
    assert not pace.is_due(100.1, reading(849))
    assert pace.is_due(100.1, reading(850))


def test_growth_is_projected_over_the_last_ten_seconds() -> None:
    growth = Growth()
    for second in range(31):
        growth.add(float(second), 100 + 10 * max(0, second - 20))
    assert growth.seconds_to(1_000) == pytest.approx(80)


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [(0.0, 10)],
        [(0.0, 10), (0.5, 100)],
        [(0.0, 10), (5.0, 10)],
        [(0.0, 10), (5.0, 5)],
        [(0.0, 10), (9.0, 11)],
    ],
)
def test_without_growth_there_is_no_projection(samples: list[tuple[float, int]]) -> None:
    growth = Growth()
    for now, used_bytes in samples:
        growth.add(now, used_bytes)
    assert growth.seconds_to(1_000) is None


# Closed loop


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


@given(st.lists(st.integers(-8, 8), min_size=20, max_size=60), st.floats(0, 1))
def test_no_load_makes_it_evict_below_the_mark(steps: list[int], stickiness: float) -> None:
    busy = Scene(FakeMemory(hot_bytes=40 * MIB, stickiness=stickiness))
    moves = iter(steps * 10)

    def move() -> None:
        busy.memory.hot_bytes = max(0, busy.memory.hot_bytes + next(moves) * MIB)

    asyncio.run(busy.pass_seconds(len(steps), move))
    assert busy.memory.lowest_bytes >= 0.6 * busy.memory.quota_bytes


# What it tells


async def test_freed_bytes_are_what_the_use_has_fallen_by() -> None:
    lying = FakeLever(name="lying", freed_bytes=999 * MIB)
    stuck = Scene(FakeMemory(floor_bytes=75 * MIB), levers=[lying])
    await stuck.pass_seconds(0.1)
    action = stuck.status().last_action
    assert action is not None
    assert action.freed_bytes == 0
    assert action.levers[0].freed_bytes == 999 * MIB


async def test_a_cleanup_during_which_memory_grows_has_freed_nothing() -> None:
    memory = FakeMemory(floor_bytes=75 * MIB)

    async def evict(_: Relief) -> int:
        memory.floor_bytes += MIB
        return 0

    growing = Scene(memory, levers=[Evict(evict)])
    await growing.pass_seconds(0.1)
    action = growing.status().last_action
    assert action is not None
    assert action.freed_bytes == 0
    assert growing.status().reading.used_bytes == 76 * MIB


async def test_the_last_action_names_every_lever() -> None:
    memory = FakeMemory(hot_bytes=65 * MIB, stickiness=0.5)
    missing = FakeLever(name="missing", is_there=False)
    busy = Scene(memory, levers=[Evict(memory.evict), FakeTrim(memory), missing])
    await busy.pass_seconds(0.1)
    action = busy.status().last_action
    assert action is not None
    assert (action.tier, action.requested, action.freed_bytes) == (STANDARD, False, 15 * MIB)
    assert action.at_ms == busy.clock.unix_ms()
    assert [(lever.name, lever.available, lever.freed_bytes) for lever in action.levers] == [
        ("evict", True, 15 * MIB),
        ("trim", True, 15 * MIB // 2),
        ("missing", False, 0),
    ]
    assert missing.asked == []
    assert busy.status().degraded == ("no_missing",)


async def test_the_lines_of_the_seed_are_logged_byte_for_byte(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="ballast.memory")
    memory = FakeMemory(quota_bytes=256 * MIB, floor_bytes=0, hot_bytes=200 * MIB)
    busy = Scene(memory, levers=[Evict(memory.evict)])
    await busy.pass_seconds(0.1)
    freed_bytes = 200 * MIB - int(0.6 * 256 * MIB)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "⚠️ Memory usage high: 78.1% (200 MB)"),
        ("INFO", RUNNING_STANDARD),
        ("INFO", f"Memory cleanup freed {freed_bytes} bytes in 0.0 ms"),
    ]
    assert caplog.messages[0].encode().startswith(b"\xe2\x9a\xa0\xef\xb8\x8f Memory")


async def test_an_emergency_is_announced_as_in_the_seed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="ballast.memory")
    memory = FakeMemory(quota_bytes=1_000 * MIB, floor_bytes=0, hot_bytes=900 * MIB)
    busy = Scene(memory, levers=[Evict(memory.evict)])
    await busy.pass_seconds(0.1)
    assert [(record.levelname, record.getMessage()) for record in caplog.records][:2] == [
        ("WARNING", "⚠️ Memory usage high: 90.0% (900 MB)"),
        ("WARNING", RUNNING_EMERGENCY),
    ]


async def test_a_lever_that_frees_nothing_is_a_warning_once_an_hour(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stuck = Scene(FakeMemory(floor_bytes=80 * MIB), levers=[FakeLever(name="idle")])
    await stuck.pass_seconds(100)
    assert caplog.messages.count("Memory lever idle freed nothing") == 1
    stuck.clock.seconds += 3_600
    await stuck.pass_seconds(60)
    assert caplog.messages.count("Memory lever idle freed nothing") == 2


async def test_switched_off_it_measures_and_warns_and_leaves_memory_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory = FakeMemory(hot_bytes=65 * MIB)
    watching = Scene(memory, policy=Policy(enabled=False))
    await watching.pass_seconds(60)
    status = watching.status()
    assert (status.tier, status.is_enabled, status.last_action) == (STANDARD, False, None)
    assert memory.asked == []
    assert caplog.messages == ["⚠️ Memory usage high: 75.0% (75 MB)"]


async def test_the_peak_is_kept_and_growth_projected() -> None:
    busy = scene(hot_bytes=40 * MIB)

    def grow() -> None:
        busy.memory.hot_bytes += MIB // 10

    await busy.pass_seconds(5, grow)
    projected = busy.status().projected_seconds
    assert projected is not None
    assert 40 < projected < 60
    busy.memory.hot_bytes = 0
    await busy.pass_seconds(1)
    status = busy.status()
    assert (status.projected_seconds, status.reading.used_bytes) == (None, 10 * MIB)
    assert status.peak_bytes > 54 * MIB


async def test_the_probe_is_corrected_every_five_seconds() -> None:
    quiet = scene()
    await quiet.pass_seconds(60)
    assert 11 <= quiet.memory.corrections <= 12


async def test_what_the_probe_cannot_see_is_degraded() -> None:
    blind = Scene(FakeMemory(degraded=("usage_is_rss",)))
    assert blind.status().degraded == ("usage_is_rss",)


# Failures


async def test_a_lever_that_fails_is_counted_and_the_others_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory = FakeMemory(hot_bytes=65 * MIB)
    failing = FakeLever(name="failing", error=RuntimeError("broken"))
    busy = Scene(memory, levers=[failing, Evict(memory.evict)])
    await busy.pass_seconds(0.1)
    assert memory.used_bytes() == 60 * MIB
    assert busy.status().counters["memoryLeverFailures"] == 1
    assert "Memory lever failing failed" in caplog.messages


async def test_a_lever_that_hangs_does_not_take_the_governor_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cleanup, "LEVER_SECONDS", 0)
    memory = FakeMemory(hot_bytes=65 * MIB)

    async def hang(_: Relief) -> int:
        await asyncio.Event().wait()
        return 0

    busy = Scene(memory, levers=[Evict(hang)])
    await busy.pass_seconds(0.1)
    assert busy.status().counters["memoryLeverFailures"] == 1
    assert busy.status().last_action is not None


async def run_some(governor: Governor) -> None:
    """Let the loop take a few turns; its interval is 0."""
    task = asyncio.create_task(governor.run())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_loop_outlives_ticks_that_fail(caplog: pytest.LogCaptureFixture) -> None:
    restless = Scene(policy=Policy(interval_seconds=0))
    broken(restless.memory)
    await run_some(restless.governor)
    assert restless.governor.failures > 3
    assert restless.status().counters["memoryTickFailures"] == restless.governor.failures
    assert restless.status().degraded == ("governor_failing",)
    assert caplog.messages == ["Memory governor failed, trying again"]
    restless.memory.error = None
    await run_some(restless.governor)
    assert restless.status().counters["memoryTicks"] > 3
    assert restless.status().degraded == ()


@pytest.mark.parametrize(("interval_seconds", "late_seconds"), [(0.1, 2.0), (1.0, 10.0)])
def test_a_governor_without_ticks_is_late(interval_seconds: float, late_seconds: float) -> None:
    dead = Scene(policy=Policy(interval_seconds=interval_seconds))
    assert dead.status().manager is Manager.ADVANCED
    assert not dead.governor.is_late(dead.clock.seconds + late_seconds)
    assert dead.governor.is_late(dead.clock.seconds + late_seconds + 0.1)


async def test_a_poll_rescues_the_memory_of_a_dead_governor() -> None:
    dead = scene(hot_bytes=65 * MIB)
    dead.clock.seconds += 3
    assert dead.status().manager is Manager.HEALTH
    await dead.governor.rescue()
    status = dead.status()
    assert dead.memory.used_bytes() == 60 * MIB
    assert (status.manager, status.is_late, status.has_failed) == (Manager.HEALTH, True, False)
    assert status.degraded == ("governor_late",)
    await dead.governor.tick()
    assert dead.status().manager is Manager.ADVANCED


async def test_a_governor_that_ticks_needs_no_rescue() -> None:
    alive = scene(hot_bytes=65 * MIB)
    await alive.governor.rescue()
    assert alive.memory.asked == []


async def test_polls_rescue_once_in_ten_seconds() -> None:
    dead = scene()
    for _ in range(300):
        dead.clock.seconds += 0.1
        await dead.governor.rescue()
    assert dead.status().counters["memoryRescues"] == 3


async def test_governor_and_rescue_both_failing_is_told_until_one_works() -> None:
    dead = scene()
    broken(dead.memory)
    dead.clock.seconds += 3
    assert not dead.status().has_failed
    await dead.governor.rescue()
    assert dead.status().has_failed
    dead.memory.error = None
    dead.clock.seconds += 10
    await dead.governor.rescue()
    assert not dead.status().has_failed
