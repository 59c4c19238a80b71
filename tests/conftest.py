"""What all tests share: real servers, and the service in this process on top of them."""

import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import pytest
from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient
from redis import Redis

from service.app import create_app
from service.settings import Settings, load_settings
from service.store import Defaults, Link, RedisStore, RedisTarget
from tests.servers import Flavour, Server, start_server

FLAVOURS: tuple[Flavour, ...] = ("valkey", "redis62")
DEFAULTS = Defaults(ttl_ms=3_600_000, max_messages=1_000, dedupe_window=512)


class Serve(Protocol):
    """Starts the service in this process; variables of the environment are given by name."""

    def __call__(self, **environ: str) -> AbstractAsyncContextManager[AsyncClient]: ...


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """Find what a module's tests have left open in that module, not in whichever runs later."""
    yield
    gc.collect()


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, as the service does."""
    return "asyncio"


@pytest.fixture(scope="session", params=FLAVOURS)
def shared_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run the newest Valkey, then the oldest Redis that the contract names."""
    with start_server(request.param) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """Give an empty server; whoever stops, fills or freezes one starts its own."""
    with Redis.from_url(shared_server.url) as client:
        client.flushall()
        client.script_flush()
    return shared_server


@pytest.fixture
async def store(server: Server) -> AsyncIterator[RedisStore]:
    """Give the durable tier alone."""
    settings = load_settings({"REDIS_URL": server.url})
    link = Link(RedisTarget(url=server.url))
    yield RedisStore(link, settings.limits, DEFAULTS)
    await link.aclose()


@pytest.fixture
def serve(server: Server) -> Serve:
    """Give a way to start the service with variables of one's own."""

    def start(**environ: str) -> AbstractAsyncContextManager[AsyncClient]:
        return run_app(load_settings({"REDIS_URL": server.url, **environ}))

    return start


@pytest.fixture
async def client(serve: Serve) -> AsyncIterator[AsyncClient]:
    """Give a client of a service with all defaults, on a loopback and without a key."""
    async with serve() as client:
        yield client


@asynccontextmanager
async def run_app(settings: Settings) -> AsyncIterator[AsyncClient]:
    """Run the app's lifespan around a client that calls it without a socket."""
    async with LifespanManager(create_app(settings)) as manager:
        transport = ASGITransport(app=manager.app)
        async with AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the stateful test has done, from whichever process it ran in."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "stateful":
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {value}")
