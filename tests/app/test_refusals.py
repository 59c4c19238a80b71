"""Redis is there and refuses: 503 or 507 in its words, nothing applied, and it heals."""

from random import Random

import pytest
import trustme
from httpx import Response

from scripts.faulting.of_redis import FAULTS
from scripts.faulting.proxy import Proxy
from scripts.faulting.scene import Scene
from scripts.faulting.stage import Stage
from service.settings import load_settings
from tests.conftest import run_app
from tests.polling import eventually
from tests.problems import assert_problem
from tests.servers import start_server

REFUSING = {
    fault.name: fault
    for fault in FAULTS
    if fault.name in {"full", "noreplicas", "misconf", "password", "readonly"}
}

PATH = "/v1/sessions/a/state/k"


@pytest.mark.parametrize("name", REFUSING)
async def test_a_redis_that_refuses_is_told_and_left_as_it_was(name: str) -> None:
    fault = REFUSING[name]
    with start_server("valkey", *fault.options) as server:
        stage = Stage(
            fault=fault,
            scene=Scene(ports=[], random=Random(1)),
            services=[],
            servers=[server],
            proxy=Proxy(server.port),
            authority=trustme.CA(),
            shim=None,
        )
        async with run_app(load_settings({"REDIS_URL": server.url})) as api:
            assert (await api.put(PATH, json=1)).status_code == 201

            async def read() -> Response:
                return await api.get(PATH, headers={"Cache-Control": "no-cache"})

            async with fault.act(stage):
                await read()  # sees the end of a connection that was cut
                refused = await api.put(PATH, json=2)
            kept = await eventually(read, lambda answer: answer.is_success)
            written = await api.put(PATH, json=3)

    status = 507 if name == "full" else 503
    told = assert_problem(refused, status)
    assert fault.shows in f"{status} {told['code']} {told['detail']}"
    assert told.get("outcome", "not_applied") == "not_applied"
    assert kept.json() == 1
    assert written.status_code == 204
