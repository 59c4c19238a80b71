"""Redis is there and refuses, or is far away: 503 or 507 in its words, and it heals."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from time import monotonic

import pytest
import trustme
from httpx import AsyncClient, Response

from scripts.faulting.fault import Fault, Layout
from scripts.faulting.of_redis import FAULTS
from scripts.faulting.of_wire import ROUND_TRIP_MS, delayed
from scripts.faulting.proxy import Proxy, proxy
from scripts.faulting.scene import Scene
from scripts.faulting.stage import Stage
from service.settings import load_settings
from tests.conftest import run_app
from tests.polling import eventually
from tests.problems import assert_problem
from tests.servers import HOST, Server, start_server

BY_NAME = {fault.name: fault for fault in FAULTS}
REFUSING = ("full", "noreplicas", "misconf", "password", "readonly")
PATH = "/v1/sessions/a/state/k"


def stage_on(fault: Fault, server: Server, way: Proxy | None = None) -> Stage:
    return Stage(
        fault=fault,
        scene=Scene(ports=[], random=Random(1)),
        services=[],
        servers=[server],
        proxy=way or Proxy(server.port),
        authority=trustme.CA(),
        shim=None,
    )


@asynccontextmanager
async def written(url: str) -> AsyncIterator[AsyncClient]:
    """Run the service with one value in it."""
    async with run_app(load_settings({"REDIS_URL": url})) as api:
        assert (await api.put(PATH, json=1)).status_code == 201
        yield api


async def read(api: AsyncClient) -> Response:
    return await api.get(PATH, headers={"Cache-Control": "no-cache"})


@pytest.mark.parametrize("name", REFUSING)
async def test_a_redis_that_refuses_is_told_and_left_as_it_was(name: str) -> None:
    fault = BY_NAME[name]
    with start_server("valkey", *fault.options) as server:
        async with written(server.url) as api:
            async with fault.act(stage_on(fault, server)):
                await read(api)  # sees the end of a connection that was cut
                refused = await api.put(PATH, json=2)
            kept = await eventually(lambda: read(api), lambda answer: answer.is_success)
            again = await api.put(PATH, json=3)

    status = 507 if name == "full" else 503
    told = assert_problem(refused, status)
    assert fault.shows in f"{status} {told['code']} {told['detail']}"
    assert told.get("outcome", "not_applied") == "not_applied"
    assert kept.json() == 1
    assert again.status_code == 204


async def test_a_redis_that_loads_its_data_is_waited_for() -> None:
    fault, details = BY_NAME["loading"], set[str]()
    with start_server("valkey", *fault.options) as server:
        async with written(server.url) as api:

            async def look() -> None:
                while True:
                    answer = await read(api)
                    if not answer.is_success:
                        details.add(assert_problem(answer, 503)["detail"])
                    await asyncio.sleep(0.01)

            looking = asyncio.create_task(look())
            async with fault.act(stage_on(fault, server)):
                kept = await eventually(lambda: read(api), lambda answer: answer.is_success)
            looking.cancel()

    assert kept.json() == 1
    assert any(fault.shows in detail for detail in details)


async def test_a_redis_that_is_far_away_is_waited_for() -> None:
    fault = Fault(name="far", title="far", act=delayed, layout=Layout.PROXY)
    with start_server("valkey") as server:
        async with proxy(server.port) as way:
            await way.open()
            async with written(f"redis://{HOST}:{way.port}") as api:
                async with delayed(stage_on(fault, server, way)):
                    began = monotonic()
                    answers = await asyncio.gather(*(read(api) for _ in range(20)))
                    seconds = monotonic() - began
                near = await read(api)

    assert {answer.status_code for answer in (*answers, near)} == {200}
    assert seconds >= ROUND_TRIP_MS / 1e3
