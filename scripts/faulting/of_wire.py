"""The way to Redis: it swallows, cuts, delays, or speaks another language."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trustme

from scripts.faulting.fault import Fault, Layout
from scripts.faulting.of_redis import NOT_APPLIED
from scripts.faulting.scene import TAKEN
from scripts.faulting.stage import Stage
from tests.servers import HOST
from tests.tls import server_context

ROUND_TRIP_MS = 300
RESET_SECONDS = 0.05


@asynccontextmanager
async def swallowed(stage: Stage) -> AsyncIterator[None]:
    """Nothing gets through in either direction; it all comes late."""
    stage.proxy.hold()
    yield
    stage.proxy.release()


@asynccontextmanager
async def half_open(stage: Stage) -> AsyncIterator[None]:
    """Redis does what it is asked, and its answers are lost."""
    stage.proxy.loses_answers = True
    yield
    stage.proxy.loses_answers = False
    stage.proxy.reset()


@asynccontextmanager
async def reset_all_the_time(stage: Stage) -> AsyncIterator[None]:
    """Every connection is reset after 50 ms at most."""

    async def storm() -> None:
        while True:
            stage.proxy.reset()
            await asyncio.sleep(RESET_SECONDS)

    task = asyncio.create_task(storm())
    yield
    task.cancel()


@asynccontextmanager
async def delayed(stage: Stage) -> AsyncIterator[None]:
    """A longer way."""
    stage.proxy.delay_seconds = ROUND_TRIP_MS / 2e3
    yield
    stage.proxy.delay_seconds = 0.0


@asynccontextmanager
async def untrusted(stage: Stage) -> AsyncIterator[None]:
    """Who answers shows a certificate of another authority."""
    await stage.proxy.open(server_context(trustme.CA(), HOST))
    yield
    await stage.proxy.open(server_context(stage.authority, HOST))


@asynccontextmanager
async def without_tls(stage: Stage) -> AsyncIterator[None]:
    """The server speaks no TLS, and the service does."""
    await stage.proxy.open()
    yield
    await stage.proxy.open(server_context(stage.authority, HOST))


@asynccontextmanager
async def with_tls(stage: Stage) -> AsyncIterator[None]:
    """The server wants TLS, and the service speaks none."""
    await stage.proxy.open(server_context(stage.authority, HOST))
    yield
    await stage.proxy.open()


FAULTS = (
    Fault(
        name="black-hole",
        title="black hole",
        act=swallowed,
        layout=Layout.PROXY,
        seconds=2.5,
        shows="503 unavailable unknown",
    ),
    Fault(
        name="half-open",
        title="half-open: answers lost after apply",
        act=half_open,
        layout=Layout.PROXY,
        seconds=2.5,
        shows="503 unavailable unknown",
    ),
    Fault(
        name="rst-storm",
        title="RST storm",
        act=reset_all_the_time,
        layout=Layout.PROXY,
        shows="503 unavailable unknown",
    ),
    Fault(
        name="plus-300-ms",
        title="+300 ms",
        act=delayed,
        layout=Layout.PROXY,
        shows=TAKEN,
        added_ms=ROUND_TRIP_MS,
    ),
    Fault(
        name="certificate",
        title="TLS certificate not trusted",
        act=untrusted,
        layout=Layout.TLS,
        shows="certificate of Redis is not trusted",
    ),
    Fault(
        name="rediss-to-plain",
        title="rediss:// to a server without TLS",
        act=without_tls,
        layout=Layout.TLS,
        shows=NOT_APPLIED,
    ),
    Fault(
        name="redis-to-tls",
        title="redis:// to a server with TLS",
        act=with_tls,
        layout=Layout.PROXY,
        shows=NOT_APPLIED,
    ),
)
