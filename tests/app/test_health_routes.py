"""/health, /health/live and /health/ready: for monitors, with and without Redis."""

import pytest
from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient, Response

from service.app import create_app
from service.http.lifespan import Stopping
from service.settings import load_settings
from tests.conftest import Serve, run_app
from tests.polling import eventually
from tests.problems import assert_problem
from tests.servers import Server

SEED_KEYS = {
    "status", "timestamp", "uptime", "memory", "memoryOptimizationEnabled", "databaseConnected",
}  # fmt: skip
PATHS = ("/health", "/health/live", "/health/ready")


async def connected(api: AsyncClient) -> Response:
    async def health() -> Response:
        return await api.get("/health")

    return await eventually(health, lambda r: bool(r.json()["databaseConnected"]))


async def test_a_healthy_service_says_ok_in_stable_bytes(api: AsyncClient) -> None:
    answer = await connected(api)

    assert answer.status_code == 200
    assert b'"status":"ok"' in answer.content
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    document = answer.json()
    assert document.keys() >= SEED_KEYS | {"version", "hotTier", "redis", "counters"}
    assert document["redis"]["lastError"] is None
    assert document["memory"]["manager"] == "advanced"


@pytest.mark.parametrize("path", PATHS)
async def test_monitors_may_ask_with_head_and_any_query(wire: AsyncClient, path: str) -> None:
    await connected(wire)
    for url in (path, f"{path}?nocache=1"):
        got, headed = await wire.get(url), await wire.head(url)
        assert (got.status_code, headed.status_code) == (200, 200)
        assert b'"status":"ok"' in got.content
        assert headed.content == b""
        assert headed.headers["Content-Type"] == got.headers["Content-Type"]


async def test_health_json_is_a_matter_of_the_content_type_only(api: AsyncClient) -> None:
    await connected(api)
    plain = await api.get("/health", headers={"Accept": "*/*"})
    typed = await api.get("/health", headers={"Accept": "application/health+json"})

    assert plain.headers["Content-Type"] == "application/json"
    assert typed.headers["Content-Type"] == "application/health+json"
    assert typed.json().keys() == plain.json().keys()


async def test_requests_and_hits_are_counted(api: AsyncClient) -> None:
    await api.put("/v1/sessions/a")
    await api.get("/v1/sessions/a")
    await api.get("/v1/sessions/none")
    document = (await api.get("/health")).json()

    counters = document["counters"]
    assert (counters["requests"], counters["responses2xx"], counters["responses4xx"]) == (3, 2, 1)
    assert counters["sealingFailures"] == 0
    assert document["hotTier"]["hits"] == 1
    assert document["memory"]["raw"]["arrayBuffers"] == 0


async def test_without_redis_health_warns_and_only_ready_fails(own_server: Server) -> None:
    async with run_app(load_settings({"REDIS_URL": own_server.url})) as api:
        await connected(api)
        own_server.kill()

        async def ready() -> Response:
            return await api.get("/health/ready")

        async def last_error() -> str | None:
            told = (await api.get("/health")).json()["redis"]["lastError"]
            return str(told) if told else None

        await eventually(ready, lambda r: r.status_code == 503)
        words = "Redis is not available: connection refused."
        await eventually(last_error, lambda told: told == words)
        health = await api.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "warn")
        assert (await api.get("/health/live")).status_code == 200
        for secret in ("127.0.0.1", "localhost", str(own_server.port)):
            assert secret not in health.text


async def test_the_health_check_may_be_off_and_the_plain_keys_stay(start: Serve) -> None:
    async with start(ENABLE_HEALTH_CHECK="false") as api:
        answer = await api.get("/health")
        assert answer.status_code == 200
        assert answer.json().keys() == SEED_KEYS
        assert answer.json()["memory"].keys() == {"raw", "formatted", "percentages"}


async def test_the_root_leads_to_health(api: AsyncClient) -> None:
    response = await api.get("/")

    assert (response.status_code, response.headers["Location"]) == (307, "/health")


async def test_a_stopping_service_takes_no_new_work() -> None:
    stopping = Stopping(is_set=True)
    async with LifespanManager(create_app(load_settings({}), stopping=stopping)) as manager:
        transport = ASGITransport(app=manager.app)
        async with AsyncClient(transport=transport, base_url="http://localhost") as api:
            refused = await api.put("/v1/sessions/a")
            assert assert_problem(refused, 503, "stopping")["outcome"] == "not_applied"
            assert refused.headers["Retry-After"] == "1"
            health = await api.get("/health")
            assert (health.status_code, health.json()["status"]) == (503, "fail")
            assert (await api.get("/health/ready")).status_code == 503
            assert (await api.get("/health/live")).status_code == 200


async def test_without_the_health_check_calls_tell_whether_redis_answers(start: Serve) -> None:
    async with start(ENABLE_HEALTH_CHECK="false") as api:
        await eventually(lambda: api.get("/health/ready"), lambda r: r.status_code == 200)
        await api.put("/v1/sessions/a", json={})
        assert (await api.get("/health")).json()["databaseConnected"] is True
