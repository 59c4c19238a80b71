"""Wall clocks that jump, on either side."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from scripts.benchmark.calls import request
from scripts.faulting.bots import Caller
from scripts.faulting.fault import Fault, Side
from scripts.faulting.scene import TAKEN
from scripts.faulting.stage import Stage

JUMP_SECONDS = 7_200
SHORT_SECONDS = 600
GONE_SECONDS = 1.0
PATH = "/v1/sessions/short"


@asynccontextmanager
async def jumped(stage: Stage, seconds: int) -> AsyncIterator[None]:
    """Let a clock be wrong, and right again; a session of 600 s obeys Redis's clock alone."""
    caller, is_ahead = Caller(stage.scene), seconds > SHORT_SECONDS
    await caller.call(stage.scene.ports[0], request("PUT", PATH, b'{"ttl":%d}' % SHORT_SECONDS))
    for port in stage.scene.ports * 2:
        await caller.read(port, PATH)
    stage.knobs.turn(clock_seconds=seconds)
    is_gone = await goes(stage, caller)
    caller.close()
    expires = is_ahead and stage.fault.needs_shim is Side.REDIS
    stage.scene.expect(
        holds=is_gone == expires,
        otherwise=f"a session of {SHORT_SECONDS} s {'is gone' if is_gone else 'outlives its time'}",
    )
    yield
    stage.knobs.turn()


async def goes(stage: Stage, caller: Caller) -> bool:
    """Whether all services come to say, out of their memory, that the short session is gone."""
    until = time.monotonic() + GONE_SECONDS
    while time.monotonic() < until:
        replies = [await caller.read(port, PATH) for port in stage.scene.ports]
        if all(reply and reply.status == HTTPStatus.NOT_FOUND for reply in replies):
            return True
        await asyncio.sleep(GONE_SECONDS / 20)
    return False


@asynccontextmanager
async def ahead(stage: Stage) -> AsyncIterator[None]:
    """Two hours ahead."""
    async with jumped(stage, JUMP_SECONDS):
        yield


@asynccontextmanager
async def behind(stage: Stage) -> AsyncIterator[None]:
    """Two hours behind."""
    async with jumped(stage, -JUMP_SECONDS):
        yield


FAULTS = (
    Fault(
        name="redis-clock-ahead",
        title="Redis's clock jumps 2 h ahead, and back",
        act=ahead,
        needs_shim=Side.REDIS,
        shows=TAKEN,
    ),
    Fault(
        name="redis-clock-behind",
        title="Redis's clock jumps 2 h back, and ahead",
        act=behind,
        needs_shim=Side.REDIS,
        shows=TAKEN,
    ),
    Fault(
        name="clock-ahead",
        title="the service's clock jumps 2 h ahead, and back",
        act=ahead,
        needs_shim=Side.SERVICE,
        shows=TAKEN,
    ),
    Fault(
        name="clock-behind",
        title="the service's clock jumps 2 h back, and ahead",
        act=behind,
        needs_shim=Side.SERVICE,
        shows=TAKEN,
    ),
)
