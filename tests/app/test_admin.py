"""What operators ask of a process: relief on request, and who allocates; admins alone may."""

import asyncio
import tracemalloc
from typing import Any

import pytest
from httpx import AsyncClient, ReadTimeout

from service.http.lifespan import Stopping
from service.settings import load_settings
from tests.app.conftest import run_with_state
from tests.conftest import Serve
from tests.polling import eventually
from tests.problems import assert_problem
from tests.servers import Server

RELIEVE, LEAK = "/v1/admin/relieve", "/v1/admin/leak"
KEYS = {"API_KEYS": "default:ro:ro-key-1,default:rw:rw-key-1,default:admin:admin-key-1"}
BODIES = {RELIEVE: {"tier": "standard", "dry_run": True}, LEAK: {"seconds": 1}}


def bearer(scope: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {scope}-key-1"}


@pytest.mark.parametrize("route", BODIES)
async def test_only_admins_may(start: Serve, route: str) -> None:
    async with start(**KEYS) as client:
        assert_problem(await client.post(route, json=BODIES[route]), 401)
        for scope in ("ro", "rw"):
            answer = await client.post(route, json=BODIES[route], headers=bearer(scope))
            assert_problem(answer, 403)
        answer = await client.post(route, json=BODIES[route], headers=bearer("admin"))
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("route", "body", "at"),
    [
        (RELIEVE, {}, "/tier"),
        (RELIEVE, {"tier": "normal"}, "/tier"),
        (RELIEVE, {"tier": "standard", "dry_run": 1}, "/dry_run"),
        (RELIEVE, {"tier": "standard", "dryRun": True}, "/dryRun"),
        (LEAK, {"seconds": 0.5}, "/seconds"),
        (LEAK, {"seconds": 61}, "/seconds"),
        (LEAK, {"top": 0}, "/top"),
        (LEAK, {"places": 1}, "/places"),
    ],
)
async def test_what_is_wrong_is_pointed_at(
    api: AsyncClient, route: str, body: dict[str, object], at: str
) -> None:
    assert_problem(await api.post(route, json=body), 400, at=at)


@pytest.mark.parametrize("path", ["/v1/admin", "/v1/admin/other", "/v1/admin/relieve/now"])
async def test_there_is_nothing_else(api: AsyncClient, path: str) -> None:
    assert_problem(await api.post(path, json={}), 404)


async def test_a_method_that_is_not_known_is_told_what_is(api: AsyncClient) -> None:
    answer = await api.get(RELIEVE)

    assert_problem(answer, 405)
    assert answer.headers["Allow"] == "POST"


async def fill(api: AsyncClient) -> None:
    await eventually(lambda: api.get("/health/ready"), lambda response: response.is_success)
    for number in range(10):
        answer = await api.put(f"/v1/sessions/{number}/state/key", json="x" * 10_000)
        assert answer.status_code == 201


async def hot_tier(api: AsyncClient) -> dict[str, Any]:
    held: dict[str, Any] = (await api.get("/health")).json()["hotTier"]
    return held


async def test_a_tier_that_is_asked_for_runs(api: AsyncClient) -> None:
    await fill(api)
    answer = (await api.post(RELIEVE, json={"tier": "emergency"})).json()
    levers = {lever["name"]: lever for lever in answer["levers"]}
    health = (await api.get("/health")).json()

    assert (answer["tier"], answer["dryRun"]) == ("emergency", False)
    assert answer["beforeBytes"] > 0
    assert answer["afterBytes"] > 0
    assert answer["freedBytes"] >= 0
    assert levers.keys() >= {"evict", "collect", "malloc_trim"}
    assert health["memory"]["lastAction"]["requested"] is True
    assert health["memory"]["lastAction"]["tier"] == "emergency"
    assert (await api.get("/v1/sessions/3/state/key")).json() == "x" * 10_000


async def test_a_dry_run_does_nothing(api: AsyncClient) -> None:
    await fill(api)
    before = await hot_tier(api)
    answer = (await api.post(RELIEVE, json={"tier": "emergency", "dry_run": True})).json()

    assert answer["dryRun"] is True
    assert answer["beforeBytes"] == answer["afterBytes"] > 0
    assert await hot_tier(api) == before
    assert (await api.get("/health")).json()["memory"]["lastAction"] is None


async def is_tracing() -> bool:
    return tracemalloc.is_tracing()


async def test_a_trace_names_the_lines_that_allocate_what_stays(api: AsyncClient) -> None:
    await eventually(lambda: api.get("/health/ready"), lambda response: response.is_success)
    tracing = asyncio.create_task(api.post(LEAK, json={"seconds": 1, "top": 3}))
    await eventually(is_tracing, bool)
    leaked = [bytearray(100_000) for _ in range(10)]
    answer = (await tracing).json()

    largest = answer["places"][0]
    assert largest["file"].endswith("tests/app/test_admin.py")
    assert largest["bytes"] >= len(leaked) * 100_000
    assert len(answer["places"]) == 3
    assert answer["bytes"] >= sum(place["bytes"] for place in answer["places"])
    assert answer["count"] >= sum(place["count"] for place in answer["places"])
    assert answer["seconds"] == 1
    assert not tracemalloc.is_tracing()


async def test_a_second_trace_is_refused_while_one_is_on(api: AsyncClient) -> None:
    tracing = asyncio.create_task(api.post(LEAK, json={"seconds": 1}))
    await eventually(is_tracing, bool)
    assert_problem(await api.post(LEAK, json={"seconds": 1}), 409, code="trace_in_progress")

    assert (await tracing).status_code == 200
    assert (await api.post(LEAK, json={"seconds": 1})).status_code == 200


async def test_a_trace_ends_with_the_process(valkey: Server) -> None:
    stopping = Stopping()
    settings = load_settings({"REDIS_URL": valkey.url})
    async with run_with_state(settings, stopping=stopping) as client:
        tracing = asyncio.create_task(client.post(LEAK, json={"seconds": 60}))
        await eventually(is_tracing, bool)
        stopping.is_set = True
        assert_problem(await tracing, 503, code="stopping")

    assert not tracemalloc.is_tracing()


async def test_a_trace_ends_when_its_client_has_gone(wire: AsyncClient) -> None:
    with pytest.raises(ReadTimeout):
        await wire.post(LEAK, json={"seconds": 60}, timeout=0.5)

    await eventually(is_tracing, lambda tracing: not tracing)
