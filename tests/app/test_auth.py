"""Who may call: keys, scopes, and what happens without a key."""

import pytest
from httpx import AsyncClient

from tests.conftest import Serve
from tests.problems import assert_problem

KEY = "correct-horse_battery"
URL = "/v1/sessions/a"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("value", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER   {KEY} "])
async def test_the_right_key_is_let_in(start: Serve, value: str) -> None:
    async with start(API_KEY=KEY) as api:
        response = await api.put(URL, headers={"Authorization": value})
        assert response.status_code == 201


@pytest.mark.parametrize(
    "value",
    [
        None, "", "Bearer", "Bearer ", f"Basic {KEY}", KEY, f"Bearer {KEY}x", f"Bearer {KEY[:-1]}",
        f"Bearer {KEY.upper()}", f"Bearer {KEY} {KEY}", "Bearer \u00e9", f"Bearer,{KEY}",
    ],
)  # fmt: skip
async def test_anything_else_is_401_and_says_how(start: Serve, value: str | None) -> None:
    headers = {} if value is None else {b"Authorization": value.encode("latin-1")}
    async with start(API_KEY=KEY) as api:
        for method, path in (("GET", URL), ("PUT", URL), ("DELETE", URL), ("GET", "/v1/nothing")):
            response = await api.request(method, path, headers=headers)
            problem = assert_problem(response, 401, "unauthorized")
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert "Authorization: Bearer" in problem["detail"]
            assert KEY not in response.text
        assert (await api.get(URL, headers=bearer(KEY))).status_code == 404


async def test_a_key_in_the_query_is_no_key(start: Serve) -> None:
    async with start(API_KEY=KEY) as api:
        assert_problem(await api.get(URL, params={"api_key": KEY}), 401)


async def test_on_a_loopback_without_a_key_everybody_may_do_everything(api: AsyncClient) -> None:
    assert (await api.put(URL)).status_code == 201
    assert (await api.get(URL, headers=bearer("any"))).status_code == 200
    assert (await api.delete(URL)).status_code == 204


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104 # never bound
async def test_elsewhere_without_a_key_nobody_may_do_anything(start: Serve, host: str) -> None:
    async with start(HOST=host) as api:
        for headers in ({}, bearer(""), bearer("any")):
            response = await api.get(URL, headers=headers)
            assert "API_KEY" in assert_problem(response, 401)["detail"]
            assert response.headers["WWW-Authenticate"] == "Bearer"
        health = (await api.get("/health")).json()
        assert health["status"] == "warn"
        assert any("API_KEY" in warning for warning in health["warnings"])


async def test_health_needs_no_key(start: Serve) -> None:
    async with start(API_KEY=KEY) as api:
        for path in ("/health", "/health/live"):
            assert (await api.get(path)).status_code == 200
