"""The service itself: told to end, or killed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing

from scripts.faulting.bots import STRIDE
from scripts.faulting.fault import Fault
from scripts.faulting.ledger import Fate
from scripts.faulting.of_redis import AOF_ALWAYS
from scripts.faulting.stage import Stage
from tests.processes import ORDERLY, Service
from tests.uploads import END_SECONDS, SlowUpload

UPLOADS = 3
GAP_WAIT_MS = 2_000
"""Survivors wait so long for writes that only the dead process had."""


async def end(stage: Stage, service: Service) -> None:
    """Send SIGTERM, and wait for the end that it promises within 25 s."""
    began = time.monotonic()
    service.terminate()
    code = await asyncio.to_thread(service.wait, seconds=END_SECONDS)
    seconds = time.monotonic() - began
    stage.scene.remarks.append(f"gone {seconds:.1f} s after SIGTERM, exit code {code}")
    stage.scene.expect(holds=code in ORDERLY, otherwise=f"it ended with {code}")
    stage.scene.expect(holds="Traceback" not in service.log, otherwise="its log has a traceback")


@asynccontextmanager
async def ended(stage: Stage) -> AsyncIterator[None]:
    """SIGTERM while clients write, and a start."""
    await end(stage, stage.services[0])
    yield
    await asyncio.to_thread(stage.services[0].restart)


@asynccontextmanager
async def ended_without_redis(stage: Stage) -> AsyncIterator[None]:
    """SIGTERM when Redis is dead."""
    stage.server.kill()
    await asyncio.sleep(stage.fault.seconds)
    await end(stage, stage.services[0])
    await asyncio.to_thread(stage.server.restart)
    yield
    await asyncio.to_thread(stage.services[0].restart)


@asynccontextmanager
async def ended_with_open_requests(stage: Stage) -> AsyncIterator[None]:
    """SIGTERM while uploads drip that never end."""
    with ExitStack() as stack:
        for _ in range(UPLOADS):
            stack.enter_context(closing(await asyncio.to_thread(SlowUpload, stage.services[0])))
        await end(stage, stage.services[0])
    yield
    await asyncio.to_thread(stage.services[0].restart)


@asynccontextmanager
async def killed(stage: Stage) -> AsyncIterator[None]:
    """SIGKILL, and a start."""
    stage.services[0].kill()
    yield
    await asyncio.to_thread(stage.services[0].restart)


@asynccontextmanager
async def killed_with_redis(stage: Stage) -> AsyncIterator[None]:
    """SIGKILL of Redis, which comes back empty, and of one of several services."""
    stage.server.kill()
    stage.services[0].kill()
    yield
    stage.scene.may_lose = acknowledged_at_home(stage)
    await asyncio.to_thread(stage.server.restart)
    await asyncio.to_thread(stage.services[0].restart)
    stage.scene.remarks.append(
        f"{stage.scene.may_lose} writes were acknowledged by the dead process"
    )


def acknowledged_at_home(stage: Stage) -> int:
    """Count what the first service alone has acknowledged, to clients that called no other."""
    ledger, processes = stage.scene.ledger, len(stage.services)
    messages = sum(
        fate is Fate.ACKNOWLEDGED and number // STRIDE % processes == 0
        for log in ledger.messages.values()
        for number, fate in log.items()
    )
    numbers = (register.acknowledged for register in ledger.registers.values())
    return messages + sum(n is not None and n // STRIDE % processes == 0 for n in numbers)


FAULTS = (
    Fault(
        name="sigterm",
        title="SIGTERM under load",
        act=ended,
        shows="connection refused",
        seconds=0.5,
    ),
    Fault(
        name="sigterm-no-redis",
        title="SIGTERM with Redis down",
        act=ended_without_redis,
        options=AOF_ALWAYS,
        shows="503 unavailable not_applied",
        seconds=0.5,
    ),
    Fault(
        name="sigterm-open",
        title="SIGTERM with open requests",
        act=ended_with_open_requests,
        shows="connection refused",
        seconds=0.5,
    ),
    Fault(
        name="sigkill",
        title="SIGKILL of the service",
        act=killed,
        shows="connection refused",
        seconds=0.5,
    ),
    Fault(
        name="sigkill-both",
        title="SIGKILL of one of three services and of Redis, back empty",
        act=killed_with_redis,
        processes=(3,),
        at_home=True,
        waits_ms=GAP_WAIT_MS,
        needs_replay=True,
    ),
)
