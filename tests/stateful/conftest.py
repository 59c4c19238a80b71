"""Two instances of the service on each of the servers, and the driver that compares them."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.servers import Server
from tests.stateful.driver import Driver, run_driver


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Run coroutines for tests that hypothesis calls, which are not async."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def driver(server: Server, runner: asyncio.Runner) -> Iterator[Driver]:
    """Give a driver that has begun."""
    running = run_driver(server)
    driver = runner.run(running.__aenter__())
    driver.begin()
    yield driver
    runner.run(running.__aexit__(None, None, None))
