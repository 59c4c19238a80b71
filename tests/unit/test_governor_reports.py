"""What the governor tells of itself, in the log and for /health."""

import logging

import pytest

from service.memory.cascade import Manager
from service.memory.governor import Governor, Hooks
from service.memory.policy import Policy
from service.vitals import MemoryReading, Tier
from tests.governor_scene import STANDARD, Scene, scene
from tests.memory_fakes import MIB, FakeClock, FakeEvict, FakeLever, FakeMemory, FakeTrim

pytestmark = pytest.mark.anyio

RUNNING_STANDARD = "🧹 Running standard memory cleanup..."
RUNNING_EMERGENCY = "🚨 Memory usage critical! Running emergency cleanup..."


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

    def grow() -> None:
        memory.floor_bytes += MIB

    growing = Scene(memory, levers=[FakeLever(name="growing", meanwhile=grow)])
    await growing.pass_seconds(0.1)
    action = growing.status().last_action
    assert action is not None
    assert action.freed_bytes == 0
    assert growing.status().reading.used_bytes == 76 * MIB


async def test_the_last_action_names_every_lever() -> None:
    memory = FakeMemory(hot_bytes=65 * MIB, stickiness=0.5)
    missing = FakeLever(name="missing", is_there=False)
    busy = Scene(memory, levers=[FakeEvict(memory), FakeTrim(memory), missing])
    await busy.pass_seconds(0.1)
    action = busy.status().last_action
    assert action is not None
    assert (action.tier, action.requested, action.freed_bytes) == (STANDARD, False, 15 * MIB)
    assert action.at_ms == busy.clock.unix_ms()
    assert [
        (lever.name, lever.available, lever.freed_bytes, lever.returned_bytes)
        for lever in action.levers
    ] == [
        ("evict", True, 15 * MIB, 15 * MIB // 2),
        ("trim", True, 15 * MIB // 2, 15 * MIB // 2),
        ("missing", False, 0, 0),
    ]
    assert missing.asked == []
    assert busy.status().degraded == ("no_missing",)


async def test_the_lines_of_the_seed_are_logged_byte_for_byte(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="ballast.memory")
    memory = FakeMemory(quota_bytes=256 * MIB, floor_bytes=0, hot_bytes=200 * MIB)
    busy = Scene(memory, levers=[FakeEvict(memory)])
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
    busy = Scene(memory, levers=[FakeEvict(memory)])
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


async def test_whoever_wants_to_know_is_told_of_each_sample_and_its_tier() -> None:
    busy = scene(hot_bytes=65 * MIB)
    await busy.pass_seconds(0.1)
    assert [(reading.used_bytes, tier) for reading, tier in busy.told] == [
        (75 * MIB, STANDARD),
        (60 * MIB, STANDARD),
    ]


async def test_a_listener_that_fails_takes_no_layer_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: MemoryReading, __: Tier) -> None:
        raise RuntimeError("broken")

    memory = FakeMemory(hot_bytes=65 * MIB)
    governor = Governor(
        memory, [FakeEvict(memory)], clock=FakeClock(), hooks=Hooks(on_reading=fail)
    )
    await governor.tick()
    await governor.tick()
    assert memory.used_bytes() == 60 * MIB
    assert governor.status.manager is Manager.ADVANCED
    assert governor.status.counters["memoryHookFailures"] == 3
    assert caplog.messages.count("Memory samples cannot be passed on") == 1


async def test_growth_that_would_fill_the_quota_soon_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    storm = scene(hot_bytes=40 * MIB)

    def grow() -> None:
        storm.memory.hot_bytes += 2 * MIB

    await storm.pass_seconds(1.0, grow)
    assert storm.changes == [STANDARD]
    assert caplog.messages[0] == (
        "Memory grows by 20.0 MB/s and would reach the quota in 1.7 s: "
        "standard tier entered at 66.0%"
    )
    assert "⚠️ Memory usage high: 66.0% (66 MB)" in caplog.messages


@pytest.mark.parametrize(
    ("used_bytes", "megabytes_a_second", "interval"),
    [(20, 0, 0.1), (49, 0, 0.1), (51, 0, 0.05), (20, 9, 0.05), (20, 2, 0.1)],
)
async def test_memory_that_fills_is_sampled_twice_as_often(
    used_bytes: int, megabytes_a_second: int, interval: float
) -> None:
    busy = scene(hot_bytes=(used_bytes - 10) * MIB)

    def grow() -> None:
        busy.memory.hot_bytes += megabytes_a_second * MIB // 10

    await busy.pass_seconds(1, grow)
    assert busy.governor.interval_seconds == interval


@pytest.mark.parametrize(
    ("setting", "interval"), [(0.02, 0.02), (0.06, 0.05), (0.1, 0.05), (1.0, 0.5)]
)
async def test_nobody_samples_more_often_than_20_times_a_second_without_being_told_to(
    setting: float, interval: float
) -> None:
    busy = Scene(FakeMemory(hot_bytes=45 * MIB), policy=Policy(interval_seconds=setting))
    await busy.pass_seconds(0.1)
    assert busy.governor.interval_seconds == interval
