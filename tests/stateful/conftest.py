"""Two instances of the service on each of the servers, and the driver that compares them."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from service import packing, sealing
from service.chunks import Sealing
from service.model import SessionRef
from service.store import RedisStore, scripts
from tests.servers import Server
from tests.stateful.driver import Driver, run_driver


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Run coroutines for tests that hypothesis calls, which are not async."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def sealings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[bool]]:
    """Let the services seal all the time, in tiny chunks; count what was taken and what was not."""
    counted, seal = Counter[bool](), RedisStore.seal

    async def counting(self: RedisStore, ref: SessionRef, gen: str, sealing: Sealing) -> bool:
        is_taken = await seal(self, ref, gen, sealing)
        counted[is_taken] += 1
        return is_taken

    monkeypatch.setattr(RedisStore, "seal", counting)
    monkeypatch.setattr(sealing, "LONG_TAIL", 3)
    monkeypatch.setattr(sealing, "SHORT_TAIL", 2)
    monkeypatch.setattr(sealing, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(sealing, "PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(packing, "CHUNK_MESSAGES", 5)
    monkeypatch.setattr(packing, "LEAST_GAIN", -1_000)
    text = scripts._text
    often = (b"SWEEP_EVERY = 64", b"SWEEP_EVERY = 3")
    monkeypatch.setattr(scripts, "_text", lambda name: text(name).replace(*often))
    scripts.script.cache_clear()
    yield counted
    scripts.script.cache_clear()


@pytest.fixture
def driver(server: Server, runner: asyncio.Runner, sealings: Counter[bool]) -> Iterator[Driver]:
    """Give a driver that has begun."""
    running = run_driver(server)
    driver = runner.run(running.__aenter__())
    runner.run(driver.begin())
    yield driver
    runner.run(running.__aexit__(None, None, None))
