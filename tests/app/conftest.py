"""The service on one server flavour for what only HTTP decides, and behind a real socket."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient
from redis import Redis
from starlette.types import ASGIApp, Receive, Scope, Send

from service.__main__ import Server as HttpServer
from service.__main__ import _config
from service.app import create_app
from service.http.lifespan import Stopping
from service.settings import Settings, load_settings
from tests.conftest import Serve, run_app
from tests.polling import POLL_SECONDS
from tests.servers import Server, start_server


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[Server]:
    """Run one server for the tests that no difference between servers can concern."""
    with start_server("valkey") as server:
        yield server


@pytest.fixture
def valkey(shared_valkey: Server) -> Server:
    """Give that server empty."""
    with Redis.from_url(shared_valkey.url) as client:
        client.flushall()
    return shared_valkey


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Run a server that the test may stop, freeze or fill."""
    with start_server("valkey") as server:
        yield server


@pytest.fixture
def start(valkey: Server) -> Serve:
    """Give a way to start the service on one flavour with variables of one's own."""

    def start(**environ: str) -> AbstractAsyncContextManager[AsyncClient]:
        return run_app(load_settings({"REDIS_URL": valkey.url, **environ}))

    return start


@pytest.fixture
async def api(start: Serve) -> AsyncIterator[AsyncClient]:
    """Give a client of a service on one flavour, with all defaults and without a key."""
    async with start() as client:
        yield client


@pytest.fixture
async def wire(valkey: Server) -> AsyncIterator[AsyncClient]:
    """Give a client that speaks to the service through uvicorn and a socket, as users do."""
    async with run_on_a_socket(REDIS_URL=valkey.url) as client:
        yield client


def exchanging(app: ASGIApp, **parts: object) -> ASGIApp:
    """Give an app whose requests find other parts in their state; None = taken away."""

    async def exchange(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            state = {**scope["state"], **parts}
            scope["state"] = {name: part for name, part in state.items() if part is not None}
        await app(scope, receive, send)

    return exchange


@asynccontextmanager
async def run_with_state(settings: Settings, **parts: object) -> AsyncIterator[AsyncClient]:
    """Run the service with parts of its state exchanged, None = taken away."""
    async with LifespanManager(exchanging(create_app(settings), **parts)) as manager:
        transport = ASGITransport(app=manager.app)
        async with AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


@asynccontextmanager
async def run_on_a_socket(
    parts: Mapping[str, object] | None = None, **environ: str
) -> AsyncIterator[AsyncClient]:
    """Run the service on a free port of the loopback; `parts` of its state may be exchanged."""
    settings, stopping = load_settings({"PORT": "0", **environ}), Stopping()
    app = exchanging(create_app(settings, stopping=stopping), **(parts or {}))
    server = HttpServer(_config(app, settings), stopping)
    running = asyncio.create_task(server.serve())
    while not server.started:
        assert not running.done()
        await asyncio.sleep(POLL_SECONDS)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client
    server.should_exit = True
    await running
