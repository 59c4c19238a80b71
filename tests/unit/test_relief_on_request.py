"""A tier that a person asks for, by the API or at the terminal."""

import asyncio
import logging

import pytest

from service.errors import Unavailable
from service.memory.cascade import Manager
from service.memory.levers import Relief
from service.memory.policy import Policy
from service.vitals import MemoryFault, Tier
from tests.governor_scene import EMERGENCY, STANDARD, Scene, scene
from tests.memory_fakes import MIB, FakeEvict, FakeLever, FakeMemory

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("tier", "line", "wanted"),
    [
        (STANDARD, "🧹 Running standard memory cleanup...", 10 * MIB),
        (EMERGENCY, "🚨 Memory usage critical! Running emergency cleanup...", 15 * MIB),
    ],
)
async def test_a_tier_runs_on_request_whatever_is_in_use(
    tier: Tier, line: str, wanted: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="ballast.memory")
    calm = scene(hot_bytes=30 * MIB)
    done = await calm.governor.relieve(tier, dry_run=False)
    assert (done.tier, done.requested) == (tier, True)
    assert abs(done.freed_bytes - wanted) <= 1
    assert [lever.name for lever in done.levers] == ["evict", "trim"]
    assert (done.levers[0].before_bytes, done.levers[0].returned_bytes) == (
        40 * MIB,
        done.freed_bytes,
    )
    assert calm.status().last_action == done
    assert calm.status().tier is Tier.NORMAL
    assert caplog.messages[:2] == ["⚠️ Memory usage high: 40.0% (40 MB)", line]
    assert caplog.messages[-1].startswith(f"Memory cleanup freed {done.freed_bytes} bytes in ")


async def test_what_is_above_the_mark_is_asked_for_if_that_is_more() -> None:
    pressed = scene(hot_bytes=72 * MIB)
    await pressed.governor.relieve(STANDARD, dry_run=False)
    assert pressed.memory.used_bytes() == 60 * MIB


async def test_a_dry_run_says_what_each_lever_would_free_and_does_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory = FakeMemory(hot_bytes=65 * MIB)
    missing = FakeLever(name="missing", freed_bytes=5, is_there=False)
    rare = FakeLever(name="rare", freed_bytes=7, tier=EMERGENCY)
    busy = Scene(memory, levers=[FakeEvict(memory), missing, rare])
    would = await busy.governor.relieve(STANDARD, dry_run=True)
    assert [(lever.name, lever.available, lever.freed_bytes) for lever in would.levers] == [
        ("evict", True, 15 * MIB),
        ("missing", False, 0),
    ]
    assert (would.freed_bytes, would.requested, would.ms) == (15 * MIB, True, 0.0)
    assert all(lever.returned_bytes == 0 for lever in would.levers)
    would = await busy.governor.relieve(EMERGENCY, dry_run=True)
    assert [lever.name for lever in would.levers] == ["evict", "missing", "rare"]
    assert (memory.asked, rare.asked, caplog.messages) == ([], [], [])
    assert busy.status().last_action is None


async def test_a_request_wakes_levers_that_rest() -> None:
    memory = FakeMemory(hot_bytes=65 * MIB)
    idle = FakeLever(name="idle")
    busy = Scene(memory, levers=[idle, FakeEvict(memory)])
    await busy.pass_seconds(0.1)
    memory.hot_bytes = 65 * MIB
    await busy.pass_seconds(1)
    assert [relief.requested for relief in idle.asked] == [False]
    done = await busy.governor.relieve(STANDARD, dry_run=False)
    assert [relief.requested for relief in idle.asked] == [False, True]
    assert not done.levers[0].is_resting


async def test_a_request_is_carried_out_by_a_lower_layer_if_need_be() -> None:
    policy = Policy(faults=frozenset({MemoryFault.ADVANCED}))
    busy = Scene(FakeMemory(hot_bytes=30 * MIB), policy=policy)
    done = await busy.governor.relieve(STANDARD, dry_run=False)
    assert [lever.name for lever in done.levers] == ["evict", "collect", "malloc_trim"]
    assert done.requested
    assert busy.status().manager is Manager.BASIC


async def test_a_request_that_no_layer_can_carry_out_is_refused() -> None:
    busy = Scene(policy=Policy(faults=frozenset(MemoryFault)))
    with pytest.raises(Unavailable) as caught:
        await busy.governor.relieve(STANDARD, dry_run=False)
    assert caught.value.code == "relief_failed"


async def test_a_request_is_carried_out_where_memory_is_only_measured() -> None:
    watching = Scene(FakeMemory(hot_bytes=65 * MIB), policy=Policy(enabled=False))
    await watching.governor.relieve(STANDARD, dry_run=False)
    assert watching.memory.used_bytes() == 60 * MIB


class Slow(FakeLever):
    """Runs until it is let go; counts how many run at the same time."""

    def __init__(self) -> None:
        super().__init__(name="slow", freed_bytes=1)
        self.begun, self.let_go = asyncio.Event(), asyncio.Event()
        self.running = self.most_running = 0

    async def run(self, relief: Relief) -> int:  # noqa: ARG002 # whatever is asked
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.begun.set()
        await self.let_go.wait()
        self.running -= 1
        return self.freed_bytes


@pytest.mark.parametrize("manager", [Manager.ADVANCED, Manager.BASIC])
async def test_a_turn_that_finds_a_request_running_looks_and_does_no_more(
    manager: Manager,
) -> None:
    slow = Slow()
    busy = Scene(FakeMemory(hot_bytes=65 * MIB), levers=[slow])
    asked = asyncio.create_task(busy.governor.relieve(STANDARD, dry_run=False))
    await slow.begun.wait()
    if manager is Manager.BASIC:
        busy.memory.error = OSError("the kernel does not tell")
    await busy.pass_seconds(3)
    assert (busy.status().tier, busy.cleanups, busy.memory.asked) == (STANDARD, 0, [])
    busy.memory.error = None
    slow.let_go.set()
    await asked
    assert (busy.cleanups, slow.most_running) == (1, 1)


async def test_a_request_waits_for_a_turn_that_runs() -> None:
    slow = Slow()
    busy = Scene(FakeMemory(hot_bytes=65 * MIB), levers=[slow])
    turn = asyncio.create_task(busy.pass_seconds(0.1))
    await slow.begun.wait()
    asked = asyncio.create_task(busy.governor.relieve(STANDARD, dry_run=False))
    for _ in range(10):
        await asyncio.sleep(0)
    assert slow.most_running == 1
    slow.let_go.set()
    await turn
    assert (await asked).requested
    assert (busy.cleanups, slow.most_running) == (2, 1)
