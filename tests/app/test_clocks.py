"""A wall clock that is wrong: Redis's alone says what has expired, that of the service nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient, Response

from scripts.faulting.shim import Shim, build_shim, compiler
from service.app import create_app
from service.clock import SystemClock
from service.settings import load_settings
from tests.conftest import run_app
from tests.polling import eventually
from tests.servers import Server, start_server

JUMP_SECONDS = 7_200
SHORT, LONG = "/v1/sessions/short", "/v1/sessions/long"


class Ahead(SystemClock):
    """A service whose wall clock is two hours ahead."""

    def unix_ms(self) -> int:
        return super().unix_ms() + JUMP_SECONDS * 1_000


class Behind(SystemClock):
    """A service whose wall clock is two hours behind."""

    def unix_ms(self) -> int:
        return super().unix_ms() - JUMP_SECONDS * 1_000


async def make(api: AsyncClient) -> None:
    """Make a session of ten minutes and one of a day, both held in memory."""
    for path, ttl in ((SHORT, 600), (LONG, 86_400)):
        assert (await api.put(path, json={"ttl": ttl})).status_code == 201
        assert (await api.get(path)).status_code == 200


@pytest.fixture
def shim(tmp_path: Path) -> Shim:
    if compiler() is None:
        pytest.skip("a wrong clock needs a C compiler (cc)")
    return build_shim(tmp_path)


@pytest.fixture
def shimmed(shim: Shim) -> Iterator[Server]:
    with start_server("valkey", environ=shim.environ) as server:
        yield server


@pytest.mark.parametrize(("seconds", "status"), [(JUMP_SECONDS, 404), (-JUMP_SECONDS, 200)])
async def test_memory_does_not_outlive_what_redis_says_is_over(
    shim: Shim, shimmed: Server, seconds: int, status: int
) -> None:
    async with run_app(load_settings({"REDIS_URL": shimmed.url})) as api:
        await make(api)
        shim.turn(clock_seconds=seconds)

        async def short() -> Response:
            return await api.get(SHORT)

        await eventually(short, lambda answer: answer.status_code == status)
        assert (await api.get(LONG)).status_code == 200
        shim.turn()

        async def renewed() -> str:
            assert (await api.patch(LONG, json={})).status_code == 200
            return str((await api.get(LONG)).headers["Session-TTL"])

        # Redis looks at its clock ten times a second, and reckons in between.
        await eventually(renewed, lambda ttl: ttl == "86400")


@pytest.mark.parametrize("clock", [Ahead, Behind])
async def test_the_clock_of_the_service_expires_nothing(
    server: Server, clock: type[SystemClock]
) -> None:
    app = create_app(load_settings({"REDIS_URL": server.url}), clock=clock())
    async with LifespanManager(app) as manager:
        transport = ASGITransport(app=manager.app)
        async with AsyncClient(transport=transport, base_url="http://localhost") as api:
            await make(api)
            assert (await api.get(SHORT)).headers["Session-TTL"] == "600"
            fresh = await api.get(SHORT, headers={"Cache-Control": "no-cache"})
            assert fresh.headers["Session-TTL"] == "600"
