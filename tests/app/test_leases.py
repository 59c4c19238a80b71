"""Leases over HTTP: every status, defaults, ranges, and what they leave alone."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest
from httpx import AsyncClient, Response
from redis import Redis

from service.store.keys import PREFIX, lease_key
from tests.app.test_ids import ODD
from tests.conftest import Serve
from tests.polling import eventually
from tests.problems import assert_problem
from tests.servers import Server
from tests.store_calls import ref_of

SESSION = "/v1/sessions/a"
LEASE = f"{SESSION}/lease"
NO_SECONDS = [
    "null", '"1"', "true", "[]", "{}", "-1", "1e999999", "1e-999999999", "0.0005", "1.0001",
    "3600.001", "1" * 400,
]  # fmt: skip


async def taken(api: AsyncClient, **wish: float) -> str:
    """Take the lease; return its token."""
    response = await api.post(LEASE, json=wish)
    assert response.status_code == 201, response.text
    token: str = response.json()["token"]
    return token


def holding(token: str) -> dict[str, str]:
    return {"Lease-Token": token}


def seconds_left(response: Response, redis: Redis) -> float:
    ends: dict[str, Any] = response.json()
    assert ends.keys() == {"token", "expires_at"}
    seconds, micros = redis.time()
    ends_at = datetime.fromisoformat(ends["expires_at"])
    return ends_at.timestamp() - (seconds + micros / 1e6)


@pytest.mark.parametrize(
    ("body", "ttl"),
    [(b"", 30), (b"{}", 30), (b'{"ttl":0.1}', 0.1), (b' {"wait":0,"ttl":3600.0}', 3600),
     (b'{"wait":20}', 30), (b'{"ttl":1.5e1,"wait":-0}', 15)],
)  # fmt: skip
async def test_a_free_lease_is_given(
    client: AsyncClient, server: Server, body: bytes, ttl: float
) -> None:
    response = await client.post(LEASE, content=body)

    assert response.status_code == 201
    assert response.headers["Durability"] == "redis"
    assert response.headers["Cache-Control"] == "no-store"
    with Redis.from_url(server.url) as redis:
        assert ttl - 1 < seconds_left(response, redis) <= ttl


async def test_a_held_lease_is_423_and_says_when_to_come_back(client: AsyncClient) -> None:
    await taken(client, ttl=59.5)
    refused = await client.post(LEASE)

    assert_problem(refused, 423, "leased")
    assert refused.headers["Retry-After"] == "60"


async def test_an_expired_lease_is_free_and_its_token_owns_nothing(client: AsyncClient) -> None:
    token = await taken(client, ttl=0.1)

    async def acquire() -> Response:
        return await client.post(LEASE)

    await eventually(acquire, lambda response: response.status_code == 201)
    late = holding(token)
    assert_problem(await client.patch(LEASE, headers=late), 409, "not_lease_owner")
    assert_problem(await client.delete(LEASE, headers=late), 409, "not_lease_owner")


@pytest.mark.parametrize(("body", "ttl"), [(b"", 30), (b"{}", 30), (b'{"ttl":100}', 100)])
async def test_the_owner_extends_from_now(
    client: AsyncClient, server: Server, body: bytes, ttl: float
) -> None:
    token = await taken(client, ttl=60)
    response = await client.patch(LEASE, content=body, headers=holding(token))

    assert response.status_code == 200
    assert response.json()["token"] == token
    assert response.headers["Durability"] == "redis"
    with Redis.from_url(server.url) as redis:
        assert ttl - 1 < seconds_left(response, redis) <= ttl


async def test_the_owner_gives_it_back_once(client: AsyncClient) -> None:
    token = await taken(client)
    released = await client.delete(LEASE, headers=holding(token))

    assert (released.status_code, released.content) == (204, b"")
    assert released.headers["Durability"] == "redis"
    assert_problem(await client.delete(LEASE, headers=holding(token)), 409, "not_lease_owner")
    assert await taken(client) != token


@pytest.mark.parametrize("token", ["x", "\u00e9", "a" * 8_000])
async def test_somebody_elses_token_is_409(api: AsyncClient, token: str) -> None:
    kept = await taken(api)
    headers = {b"Lease-Token": token.encode()}

    assert_problem(await api.patch(LEASE, headers=headers), 409, "not_lease_owner")
    assert_problem(await api.delete(LEASE, headers=headers), 409, "not_lease_owner")
    assert (await api.delete(LEASE, headers=holding(kept))).status_code == 204


@pytest.mark.parametrize("tokens", [[], [""], ["a", "a"]])
async def test_no_token_or_several_is_400(api: AsyncClient, tokens: list[str]) -> None:
    headers = [("Lease-Token", token) for token in tokens]

    for method in ("PATCH", "DELETE"):
        response = await api.request(method, LEASE, headers=headers)
        assert_problem(response, 400, at="/headers/lease-token")


@pytest.mark.parametrize("text", [*NO_SECONDS, "0", "0.099", "0.0999"])
async def test_a_ttl_that_cannot_be_is_400(api: AsyncClient, text: str) -> None:
    body = f'{{"ttl":{text}}}'.encode()

    assert_problem(await api.post(LEASE, content=body), 400, at="/ttl")
    refused = await api.patch(LEASE, content=body, headers=holding("x"))
    assert_problem(refused, 400, at="/ttl")


@pytest.mark.parametrize("text", [*NO_SECONDS, "20.001", "-0.001"])
async def test_a_wait_that_cannot_be_is_400(api: AsyncClient, text: str) -> None:
    response = await api.post(LEASE, content=f'{{"wait":{text}}}'.encode())
    assert_problem(response, 400, at="/wait")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [(b'{"x":1}', "/x"), (b'{"ttl":1,"ttl":1}', ""), (b"[]", ""), (b"{", ""), (b"\xff", "")],
)
async def test_a_body_that_is_not_known_is_400(api: AsyncClient, body: bytes, pointer: str) -> None:
    assert_problem(await api.post(LEASE, content=body), 400, at=pointer)
    patched = await api.patch(LEASE, content=body, headers=holding("x"))
    assert_problem(patched, 400, at=pointer)


async def test_extending_knows_no_wait(api: AsyncClient) -> None:
    response = await api.patch(LEASE, json={"wait": 1}, headers=holding("x"))
    assert_problem(response, 400, at="/wait")


async def test_what_is_refused_takes_no_lease(api: AsyncClient) -> None:
    assert_problem(await api.post(LEASE, json={"ttl": 0}), 400)
    assert_problem(await api.post(f"{LEASE}?ttl=1"), 400, at="/query/ttl")
    assert_problem(await api.post(LEASE, content=b"{}", headers={"Content-Type": "a/b"}), 415)

    await taken(api)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_other_methods_are_405(api: AsyncClient, method: str) -> None:
    response = await api.request(method, LEASE)

    assert response.status_code == 405
    assert response.headers["Allow"] == "DELETE, PATCH, POST"


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_a_query_is_400(api: AsyncClient, method: str) -> None:
    response = await api.request(method, f"{LEASE}?wait=1", headers=holding("x"))
    assert_problem(response, 400, at="/query/wait")


async def test_it_needs_a_key(start: Serve) -> None:
    async with start(API_KEY="right-key") as api:
        for method in ("POST", "PATCH", "DELETE"):
            assert_problem(await api.request(method, LEASE), 401)
        mine = {"Authorization": "Bearer right-key"}
        assert (await api.post(LEASE, headers=mine)).status_code == 201


async def test_a_lease_makes_no_session_and_outlives_one(client: AsyncClient) -> None:
    assert_problem(await client.get(SESSION), 404)
    token = await taken(client)
    assert_problem(await client.get(SESSION), 404)

    etag = (await client.put(SESSION)).headers["ETag"]
    await client.patch(LEASE, headers=holding(token))
    assert (await client.get(SESSION)).headers["ETag"] == etag
    await client.delete(SESSION)
    assert_problem(await client.post(LEASE), 423)
    assert (await client.delete(LEASE, headers=holding(token))).status_code == 204


async def test_a_lease_stands_in_the_way_of_other_leases_alone(client: AsyncClient) -> None:
    await taken(client)

    assert (await client.put(SESSION)).status_code == 201
    assert (await client.post(f"{SESSION}/messages", json={"messages": [{}]})).status_code == 201
    assert (await client.delete(SESSION)).status_code == 204
    assert (await client.post("/v1/sessions/b/lease")).status_code == 201


@pytest.mark.parametrize("name", ODD)
async def test_an_id_is_as_odd_as_a_sessions(
    client: AsyncClient, server: Server, name: str
) -> None:
    url = f"/v1/sessions/{quote(name, safe='')}/lease"
    token = (await client.post(url)).json()["token"]

    with Redis.from_url(server.url) as redis:
        assert redis.keys(PREFIX + b"*") == [lease_key(ref_of(name))]
    assert (await client.delete(url, headers=holding(token))).status_code == 204


@pytest.mark.parametrize("segment", ["", "%2E", "%2e.", "%00", "a%0Ab", "%ff", "x" * 257])
async def test_an_id_that_cannot_be_is_400(api: AsyncClient, segment: str) -> None:
    for method in ("POST", "PATCH", "DELETE"):
        url = f"/v1/sessions/{segment}/lease"
        response = await api.request(method, url, headers=holding("x"))
        assert_problem(response, 400, at="/path/id")


async def test_without_redis_it_is_503(api: AsyncClient, start: Serve) -> None:
    async with start(REDIS_URL="redis://127.0.0.1:1") as cut_off:
        for method in ("POST", "PATCH", "DELETE"):
            response = await cut_off.request(method, LEASE, headers=holding("x"))
            assert assert_problem(response, 503)["outcome"] == "not_applied"
            assert response.headers["Retry-After"] == "1"


async def test_a_full_redis_gives_no_lease_and_takes_them_back(
    api: AsyncClient, valkey: Server
) -> None:
    token = await taken(api)
    with Redis.from_url(valkey.url) as redis:
        redis.config_set("maxmemory", 1)
        try:
            assert_problem(await api.post("/v1/sessions/b/lease"), 507, "redis_full")
            assert (await api.patch(LEASE, headers=holding(token))).status_code == 200
            assert (await api.delete(LEASE, headers=holding(token))).status_code == 204
        finally:
            redis.config_set("maxmemory", 0)
