"""What happens when a part of the governor, a layer, or all of them fail."""

import asyncio
import ctypes
import logging
from pathlib import Path

import pytest

from service.memory import cascade, cleanup
from service.memory.cascade import Manager
from service.memory.governor import Governor
from service.memory.levers import Relief
from service.memory.machine import own_rss_bytes
from service.memory.plain import collected, nothing, own_bytes, trimmed
from service.memory.policy import Policy
from service.vitals import MemoryFault, Tier
from tests.governor_scene import EMERGENCY, NORMAL, STANDARD, Scene, scene
from tests.memory_fakes import MIB, FakeEvict, FakeLever, FakeMemory

pytestmark = pytest.mark.anyio

ADVANCED, BASIC, DIRECT, HEALTH = list(Manager)
LOOP = frozenset({MemoryFault.ADVANCED, MemoryFault.BASIC, MemoryFault.DIRECT})
ABOVE = {
    ADVANCED: frozenset[MemoryFault](),
    BASIC: frozenset({MemoryFault.ADVANCED}),
    DIRECT: frozenset({MemoryFault.ADVANCED, MemoryFault.BASIC}),
}
BROKEN = OSError("the kernel does not tell")


def faulty(faults: frozenset[MemoryFault], *, hot_bytes: int = 0) -> Scene:
    return Scene(FakeMemory(hot_bytes=hot_bytes), policy=Policy(faults=faults))


# The layers


@pytest.mark.parametrize("manager", list(ABOVE))
async def test_each_layer_stands_in_for_those_above_it(manager: Manager) -> None:
    busy = faulty(ABOVE[manager], hot_bytes=65 * MIB)
    await busy.pass_seconds(0.1)
    status = busy.status()
    action = status.last_action
    assert action is not None
    assert busy.memory.used_bytes() == status.reading.used_bytes == 60 * MIB
    assert (status.manager, status.tier, action.tier) == (manager, STANDARD, STANDARD)
    assert (action.freed_bytes, action.at_ms) == (15 * MIB, busy.clock.unix_ms())
    assert action.levers[0].name == "evict"
    assert action.levers[0].freed_bytes == action.levers[0].returned_bytes == 15 * MIB
    assert status.degraded == tuple(f"{fault}_failed" for fault in sorted(ABOVE[manager]))
    assert [tier for _, tier in busy.told] == [STANDARD] * len(busy.told)
    await busy.pass_seconds(10)
    assert busy.changes == [STANDARD, NORMAL]


async def test_with_no_layer_at_all_memory_stays_as_it_is() -> None:
    busy = faulty(frozenset(MemoryFault), hot_bytes=65 * MIB)
    for _ in range(30):
        await busy.pass_seconds(1)
        await busy.governor.rescue()
    assert busy.memory.used_bytes() == 75 * MIB
    assert busy.status().has_failed
    assert busy.status().manager is HEALTH


@pytest.mark.parametrize("manager", list(ABOVE))
async def test_a_layer_relieves_an_emergency(manager: Manager) -> None:
    busy = faulty(ABOVE[manager], hot_bytes=80 * MIB)
    await busy.pass_seconds(30)
    assert busy.changes == [EMERGENCY, STANDARD, NORMAL]
    assert busy.memory.used_bytes() == 60 * MIB


@pytest.mark.parametrize("manager", [BASIC, DIRECT])
async def test_lower_layers_do_not_hammer_what_nobody_can_free(manager: Manager) -> None:
    stuck = Scene(FakeMemory(floor_bytes=80 * MIB), policy=Policy(faults=ABOVE[manager]))
    await stuck.pass_seconds(120)
    assert stuck.cleanups <= 24


@pytest.mark.parametrize("manager", [BASIC, DIRECT])
async def test_lower_layers_only_look_when_switched_off(manager: Manager) -> None:
    policy = Policy(faults=ABOVE[manager], enabled=False)
    watching = Scene(FakeMemory(hot_bytes=65 * MIB), policy=policy)
    await watching.pass_seconds(10)
    assert watching.status().tier is STANDARD
    assert watching.memory.asked == []


async def test_a_broken_probe_leaves_the_layer_that_needs_none() -> None:
    blind = scene(hot_bytes=65 * MIB)
    blind.memory.error = BROKEN
    await blind.pass_seconds(0.1)
    status = blind.status()
    assert (status.manager, status.reading.usage_source) == (DIRECT, "statm")
    assert status.degraded == ("advanced_failed", "basic_failed")
    assert status.reading.used_bytes == 60 * MIB


async def test_a_layer_that_fails_is_told_once_rests_longer_each_time_and_comes_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    busy = scene()
    busy.memory.error = BROKEN
    await busy.pass_seconds(300)
    # At 0, then after 5, 10, 20, 40, and 60 s each.
    assert busy.status().counters["memoryTickFailures"] == 2 * 8
    assert busy.status().counters["memoryDemotions"] == 2
    busy.memory.error = None
    await busy.pass_seconds(60)
    assert busy.status().manager is ADVANCED
    assert busy.status().degraded == ()
    assert caplog.messages == [
        "Memory layer advanced failed and is tried again later",
        "Memory layer basic failed and is tried again later",
        "Memory layer advanced works again",
    ]


async def test_a_layer_that_comes_and_goes_is_not_told_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    busy = scene()

    def flap() -> None:
        is_up = busy.status().manager is ADVANCED
        busy.memory.error = BROKEN if is_up else None

    await busy.pass_seconds(300, flap)
    assert len([line for line in caplog.messages if "advanced failed" in line]) == 8


async def test_who_has_worked_for_a_minute_rests_briefly_again() -> None:
    busy = scene()
    busy.memory.error = BROKEN
    await busy.pass_seconds(300)
    busy.memory.error = None
    await busy.pass_seconds(121)
    busy.memory.error = BROKEN
    await busy.pass_seconds(0.1)
    busy.memory.error = None
    await busy.pass_seconds(5.2)
    assert busy.status().manager is ADVANCED


async def test_a_turn_that_hangs_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "TURN_SECONDS", 0)
    hanging = Scene(FakeMemory(hot_bytes=65 * MIB), levers=[Hanging()])
    await hanging.pass_seconds(0.1)
    assert hanging.status().manager is BASIC
    assert hanging.memory.used_bytes() == 60 * MIB


# Levers


async def test_a_lever_that_fails_is_counted_told_once_and_the_others_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory = FakeMemory(hot_bytes=65 * MIB)
    failing = FakeLever(name="failing", error=RuntimeError("broken"))
    busy = Scene(memory, levers=[failing, FakeEvict(memory)])

    def grow() -> None:
        memory.hot_bytes += MIB // 2

    await busy.pass_seconds(20, grow)
    assert memory.used_bytes() < 70 * MIB
    assert busy.status().counters["memoryLeverFailures"] > 2
    assert caplog.messages.count("Memory lever failing failed") == 1


async def test_a_step_that_fails_is_counted_told_once_and_the_others_are_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object, __: Relief) -> int:
        raise RuntimeError("broken")

    monkeypatch.setattr(FakeMemory, "evict_at_once", fail)
    busy = faulty(ABOVE[BASIC], hot_bytes=65 * MIB)
    await busy.pass_seconds(70)
    action = busy.status().last_action
    assert action is not None
    assert [lever.name for lever in action.levers] == ["evict", "collect", "malloc_trim"]
    assert busy.status().counters["memoryLeverFailures"] == 14
    assert caplog.messages.count("Memory step evict of layer basic failed") == 1


class Hanging(FakeLever):
    """Never comes to an end by itself; tells when it has begun."""

    def __init__(self) -> None:
        super().__init__(name="hanging")
        self.begun = asyncio.Event()

    async def run(self, relief: Relief) -> int:  # noqa: ARG002 # whatever is asked
        self.begun.set()
        await asyncio.Event().wait()
        return 0


async def test_a_lever_that_hangs_does_not_take_the_governor_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cleanup, "LEVER_SECONDS", 0)
    busy = Scene(FakeMemory(hot_bytes=65 * MIB), levers=[Hanging()])
    await busy.pass_seconds(0.1)
    assert busy.status().manager is ADVANCED
    assert busy.status().counters["memoryLeverFailures"] == 1
    assert busy.status().last_action is not None


async def test_a_tier_that_is_reached_during_a_cleanup_is_seen_at_once() -> None:
    hanging = Hanging()
    busy = Scene(
        FakeMemory(hot_bytes=65 * MIB), levers=[hanging], policy=Policy(interval_seconds=0)
    )
    turn = asyncio.create_task(busy.pass_seconds(0.1))
    await hanging.begun.wait()
    busy.memory.hot_bytes = 80 * MIB
    busy.clock.seconds += 3
    for _ in range(10):
        await asyncio.sleep(0)
    assert busy.status().tier is EMERGENCY
    assert not busy.status().is_late
    turn.cancel()


# The loop, and the layer of /health


async def run_some(governor: Governor) -> None:
    """Let the loop take a few turns; its interval is 0."""
    task = asyncio.create_task(governor.run())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_loop_outlives_turns_that_fail() -> None:
    policy = Policy(interval_seconds=0, faults=LOOP)
    restless = Scene(policy=policy)
    await run_some(restless.governor)
    assert restless.status().counters["memoryTicks"] == 0
    assert restless.status().manager is HEALTH
    assert restless.status().degraded == ("advanced_failed", "basic_failed", "direct_failed")


async def test_the_loop_ticks() -> None:
    restless = Scene(policy=Policy(interval_seconds=0))
    await run_some(restless.governor)
    assert restless.status().counters["memoryTicks"] > 3


@pytest.mark.parametrize(("interval_seconds", "late_seconds"), [(0.1, 2.0), (1.0, 10.0)])
def test_a_governor_without_ticks_is_late(interval_seconds: float, late_seconds: float) -> None:
    dead = Scene(policy=Policy(interval_seconds=interval_seconds))
    assert dead.status().manager is ADVANCED
    assert not dead.governor.is_late(dead.clock.seconds + late_seconds)
    assert dead.governor.is_late(dead.clock.seconds + late_seconds + 0.1)


async def test_a_poll_rescues_the_memory_of_a_dead_governor() -> None:
    dead = scene(hot_bytes=65 * MIB)
    dead.clock.seconds += 3
    assert dead.status().manager is HEALTH
    await dead.governor.rescue()
    status = dead.status()
    assert dead.memory.used_bytes() == status.reading.used_bytes == 60 * MIB
    assert status.last_action is not None
    assert (status.manager, status.is_late, status.has_failed) == (HEALTH, True, False)
    assert (status.tier, status.degraded) == (STANDARD, ("governor_late",))
    await dead.governor.tick()
    assert dead.status().manager is ADVANCED


async def test_a_poll_rescues_when_every_layer_of_the_loop_fails() -> None:
    busy = faulty(LOOP, hot_bytes=65 * MIB)
    await busy.pass_seconds(3)
    assert busy.memory.used_bytes() == 75 * MIB
    await busy.governor.rescue()
    assert busy.memory.used_bytes() == 60 * MIB
    assert not busy.status().has_failed


async def test_a_poll_rescues_while_a_turn_hangs() -> None:
    hanging = Hanging()
    busy = Scene(FakeMemory(hot_bytes=65 * MIB), levers=[hanging])
    turn = asyncio.create_task(busy.pass_seconds(0.1))
    await hanging.begun.wait()
    busy.clock.seconds += 3
    await busy.governor.rescue()
    assert busy.memory.used_bytes() == 60 * MIB
    turn.cancel()


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
    dead.memory.own_error = BROKEN
    dead.clock.seconds += 3
    assert not dead.status().has_failed
    await dead.governor.rescue()
    assert dead.status().has_failed
    dead.memory.own_error = None
    dead.clock.seconds += 10
    await dead.governor.rescue()
    assert not dead.status().has_failed


# The plain means


def test_the_last_resort_sees_its_own_memory(tmp_path: Path) -> None:
    before_bytes = own_bytes()
    ballast = bytearray(b"x" * (64 * MIB))
    # What other tests have left may go meanwhile.
    assert own_bytes() - before_bytes > 48 * MIB
    assert own_bytes() < 2 * own_rss_bytes()
    assert len(ballast) == 64 * MIB


def test_the_last_resort_trims_and_collects() -> None:
    relief = Relief(tier=Tier.EMERGENCY, excess_bytes=1)
    blobs = [bytes(65_536) for _ in range(512)]
    pin = bytes(65_536)
    del blobs
    before_bytes = own_bytes()
    assert (trimmed(relief), collected(relief), nothing(relief)) == (0, 0, 0)
    assert own_bytes() <= before_bytes
    assert len(pin) == 65_536


def test_a_libc_without_a_trim_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert trimmed(Relief(tier=Tier.STANDARD, excess_bytes=1)) == 0


@pytest.fixture(autouse=True)
def _log_of_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="ballast.memory")
