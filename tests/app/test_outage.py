"""Redis dead, frozen, refusing or full: 503 and 507 in time, and what goes on all the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from time import monotonic

import pytest
from httpx import AsyncClient, Response
from redis import Redis

from service.settings import load_settings
from service.store import tracking
from tests.app import calls as calls_of
from tests.conftest import FLAVOURS, run_app
from tests.polling import eventually
from tests.problems import assert_problem
from tests.servers import Flavour, Server, start_server

SESSION = "/v1/sessions/a"
MESSAGES = {"messages": [{"n": 1}]}
READS = (
    "", "?include=state,messages", "/messages", "/messages?last=1", "/messages/1", "/state",
    "/state?values=true", "/state/k",
)  # fmt: skip


def run_on(url: str) -> AbstractAsyncContextManager[AsyncClient]:
    return run_app(load_settings({"REDIS_URL": url} if url else {}))


@pytest.fixture
async def api(own_server: Server) -> AsyncIterator[AsyncClient]:
    """Give a client of a service whose server the test may end; one session is there."""
    async with run_on(own_server.url) as api:
        await api.put(f"{SESSION}/state/k", content=b"1")
        await api.post(f"{SESSION}/messages", json=MESSAGES)
        for path in READS:
            assert (await api.get(SESSION + path)).status_code == 200
        yield api


async def every_call(api: AsyncClient) -> list[Response]:
    """Call each route of a session once, with a key and a lease where they go."""
    keyed = {"Idempotency-Key": "k", "Lease-Token": "x"}
    calls = [*calls_of.READS.values(), *calls_of.MUTATIONS.values()]
    batch = await api.post(f"{SESSION}/state", json={"get": ["k"]})
    return [batch, await api.get("/v1/sessions"), *[await call.send(api, keyed) for call in calls]]


async def kill(server: Server, api: AsyncClient) -> None:
    """End the server, and let the service see the end of its connections."""
    server.kill()
    assert_problem(await api.put("/v1/sessions/other"), 503)


def assert_unavailable(response: Response, outcome: str) -> None:
    assert assert_problem(response, 503)["outcome"] == outcome
    assert int(response.headers["Retry-After"]) >= 1


async def test_without_redis_every_call_is_503_and_not_applied(
    api: AsyncClient, own_server: Server
) -> None:
    await kill(own_server, api)

    answers = await asyncio.gather(api.get(SESSION), api.put("/v1/sessions/b"), api.delete(SESSION))
    for response in answers:
        assert_unavailable(response, "not_applied")


@pytest.mark.parametrize(
    "url", ["", "nonsense", "redis://", "http://127.0.0.1", "redis://nohost.invalid:1/0", "redis://127.0.0.1:1/x"]
)  # fmt: skip
async def test_without_a_usable_url_calls_are_503_and_health_warns(url: str) -> None:
    async with run_on(url) as api:
        began = monotonic()
        assert_unavailable(await api.put(SESSION), "not_applied")
        assert monotonic() - began < 2
        health = await api.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "warn")
        assert health.json()["databaseConnected"] is False
        assert url == "" or url not in health.text


async def test_every_route_is_503_while_nothing_listens() -> None:
    async with run_on("") as api:
        for response in await every_call(api):
            assert_unavailable(response, "not_applied")


async def test_a_wrong_password_is_503_and_never_shown(own_server: Server) -> None:
    own_server.restart("--requirepass", "right-password")
    wrong = own_server.url.replace("right", "wrong")
    async with run_on(wrong) as api:
        response = await api.put(SESSION)
        assert_unavailable(response, "not_applied")
        assert "password" in response.json()["detail"]

        async def health() -> Response:
            return await api.get("/health")

        told = await eventually(health, lambda r: bool(r.json()["redis"]["lastError"]))
        assert "wrong-password" not in told.text + response.text
    async with run_on(own_server.url) as api:
        assert (await api.put(SESSION)).status_code == 201


async def test_a_frozen_server_is_503_within_2_seconds(
    api: AsyncClient, own_server: Server
) -> None:
    own_server.pause()
    try:
        began = monotonic()
        written, read = await asyncio.gather(
            api.post(f"{SESSION}/messages", json=MESSAGES),
            api.get(SESSION, headers={"Cache-Control": "no-cache"}),
        )
        assert monotonic() - began < 2
        assert_unavailable(written, "unknown")
        assert_unavailable(read, "not_applied")
        began = monotonic()
        assert (await api.get("/health")).status_code == 200
        assert monotonic() - began < 0.2
    finally:
        own_server.resume()

    async def write() -> Response:
        return await api.post(f"{SESSION}/messages", json=MESSAGES)

    await eventually(write, lambda r: r.status_code == 201, within_seconds=3)


async def test_what_is_verified_is_answered_until_redis_has_been_silent_for_too_long(
    api: AsyncClient, own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = await api.get(f"{SESSION}/messages")
    monkeypatch.setattr(tracking, "TRUST_SECONDS", 60)
    own_server.pause()
    try:
        trusted = await api.get(f"{SESSION}/messages")
        assert (trusted.status_code, trusted.content) == (200, fresh.content)
        assert "Age" not in trusted.headers
        monkeypatch.setattr(tracking, "TRUST_SECONDS", 0)
        assert_unavailable(await api.get(f"{SESSION}/messages"), "not_applied")
    finally:
        own_server.resume()


async def test_merges_that_wait_for_each_other_wait_for_a_frozen_server_once(
    api: AsyncClient, own_server: Server
) -> None:
    merge = {"merge": {"o": {"x": 1}}}
    own_server.pause()
    try:
        began = monotonic()
        answers = await asyncio.gather(
            *[api.post(f"{SESSION}/state", json=merge) for _ in range(4)]
        )
        assert monotonic() - began < 2
    finally:
        own_server.resume()
    outcomes = sorted(assert_problem(answer, 503)["outcome"] for answer in answers)
    assert outcomes == ["not_applied", "not_applied", "not_applied", "unknown"]

    async def write() -> Response:
        return await api.post(f"{SESSION}/state", json=merge)

    await eventually(write, lambda r: r.status_code == 200, within_seconds=3)


async def test_writes_are_taken_again_when_redis_is_back(
    api: AsyncClient, own_server: Server
) -> None:
    own_server.kill()
    assert_problem(await api.put("/v1/sessions/b"), 503)
    own_server.restart()

    async def write() -> Response:
        return await api.put("/v1/sessions/b")

    async def ready() -> Response:
        return await api.get("/health/ready")

    written = await eventually(write, lambda r: r.status_code != 503, within_seconds=3)
    assert written.status_code == 201
    await eventually(ready, lambda r: r.status_code == 200, within_seconds=3)
    assert (await api.get(SESSION)).status_code == 200  # it was played again


async def test_a_stale_answer_is_given_only_to_those_who_accept_it(
    api: AsyncClient, own_server: Server
) -> None:
    fresh = {path: await api.get(SESSION + path) for path in READS}
    await kill(own_server, api)

    async def answer(path: str, *headers: tuple[str, str]) -> Response:
        return await api.get(SESSION + path, headers=headers)

    accepting = ("Cache-Control", "stale-if-error=60")
    stale = await asyncio.gather(*(answer(path, accepting) for path in READS))
    for response, path in zip(stale, READS, strict=True):
        assert (response.status_code, response.content) == (200, fresh[path].content)
        assert response.headers["ETag"] == fresh[path].headers["ETag"]
        assert 0 <= int(response.headers["Age"]) < 10

    plain, uncached, in_lines, conditional = await asyncio.gather(
        answer(""),
        answer("", ("Cache-Control", "stale-if-error=60, no-cache")),
        answer("", ("Cache-Control", "max-stale"), ("Cache-Control", 'Stale-If-Error="60"')),
        answer("", accepting, ("If-None-Match", fresh[""].headers["ETag"])),
    )
    assert_unavailable(plain, "not_applied")
    assert_unavailable(uncached, "not_applied")
    assert in_lines.content == fresh[""].content
    assert conditional.status_code == 304


async def test_a_key_past_its_expiry_is_not_answered_from_memory(
    api: AsyncClient, own_server: Server
) -> None:
    await api.put(f"{SESSION}/state/short", content=b"1", params={"key_ttl": "1.5"})
    assert (await api.get(f"{SESSION}?include=state")).json()["state_key_count"] == 2
    own_server.kill()

    async def whole() -> Response:
        stale = {"Cache-Control": "stale-if-error=60"}
        return await api.get(f"{SESSION}?include=state", headers=stale)

    before = await whole()
    assert b'"short"' in before.content
    after = await eventually(whole, lambda r: b'"short"' not in r.content)
    assert (after.status_code, list(after.json()["state"])) == (200, ["k"])


async def test_what_memory_knows_to_be_absent_is_told_with_its_age(
    api: AsyncClient, own_server: Server
) -> None:
    await api.get(f"{SESSION}?include=state,messages")
    await kill(own_server, api)

    for path in ("state/none", "messages/99"):
        answer = await api.get(f"{SESSION}/{path}", headers={"Cache-Control": "stale-if-error=60"})
        assert answer.status_code == 404
        assert 0 <= int(answer.headers["Age"]) < 10


async def test_what_is_not_held_is_never_answered_from_memory(
    api: AsyncClient, own_server: Server
) -> None:
    await kill(own_server, api)
    accepting = {"Cache-Control": "stale-if-error=60"}

    unknown, too_old = await asyncio.gather(
        api.get("/v1/sessions/unknown", headers=accepting),
        api.get(SESSION, headers={"Cache-Control": "stale-if-error=0"}),
    )
    assert_unavailable(unknown, "not_applied")
    assert_unavailable(too_old, "not_applied")


async def test_a_session_past_its_expiry_is_503_in_an_outage(
    api: AsyncClient, own_server: Server
) -> None:
    await api.put("/v1/sessions/short", json={"ttl": 1.8})
    own_server.kill()

    async def read() -> Response:
        return await api.get("/v1/sessions/short", headers={"Cache-Control": "stale-if-error=60"})

    assert (await read()).status_code == 200
    assert_unavailable(await eventually(read, lambda r: r.status_code != 200), "not_applied")


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_on_a_full_redis_only_what_grows_is_refused(flavour: Flavour) -> None:
    with start_server(flavour) as server, Redis.from_url(server.url) as operator:
        async with run_on(server.url) as api:
            await api.post(f"{SESSION}/state", json={"set": {"k": 1, "o": {}, "p": 1}})
            five = b'{"messages":[{},{},{},{},{}]}'
            etag = (await api.post(f"{SESSION}/messages", content=five)).headers["ETag"]
            operator.config_set("maxmemory", 1)

            for method, path, body in (
                ("PUT", "/v1/sessions/new", b""),
                ("PUT", "/v1/sessions/new/state/k", b"1"),
                ("PUT", f"{SESSION}/state/k", b"1"),
                ("POST", f"{SESSION}/messages", b'{"messages":[{}]}'),
                ("POST", f"{SESSION}/state", b'{"set":{"other":2,"k":null}}'),
                ("POST", f"{SESSION}/state", b'{"merge":{"o":{"x":2}}}'),
                ("PUT", f"{SESSION}/messages", b'{"messages":[{}]}'),
                ("POST", f"{SESSION}/copy", b'{"to":"b"}'),
            ):
                refused = await api.request(method, path, content=body)
                assert_problem(refused, 507, "redis_full")
            cold = {"Cache-Control": "no-cache"}
            for path in READS:
                assert (await api.get(SESSION + path, headers=cold)).status_code == 200
            assert (await api.get(SESSION, headers=cold)).headers["ETag"] == etag
            assert (await api.get("/health")).status_code == 200

            assert (await api.patch(SESSION, json={})).status_code == 200
            assert (await api.put(SESSION, json={"ttl": 60})).headers["Session-TTL"] == "60"
            batch = await api.post(f"{SESSION}/state", json={"set": {"k": None}})
            assert (batch.status_code, batch.json()["deleted"]) == (200, 1)
            assert (await api.delete(f"{SESSION}/state/k")).status_code == 204
            assert (await api.delete(f"{SESSION}/state")).json() == {"deleted": 2}
            assert (await api.delete(f"{SESSION}/messages?before=2")).json() == {"deleted": 1}
            assert (await api.delete(f"{SESSION}/messages/3")).status_code == 204
            popped = await api.delete(
                f"{SESSION}/messages?last=1", headers={"Idempotency-Key": "k"}
            )
            assert [message["seq"] for message in popped.json()["messages"]] == [5]
            assert (await api.delete(f"{SESSION}/messages")).status_code == 204
            assert (await api.delete(SESSION)).status_code == 204

            operator.config_set("maxmemory", 0)
            assert (await api.put(SESSION)).status_code == 201


async def test_memory_knows_of_a_renewal_that_changed_nothing(
    api: AsyncClient, own_server: Server
) -> None:
    before = (await api.get(SESSION)).json()["expires_at"]
    await asyncio.sleep(0.01)
    renewed = (await api.patch(SESSION, json={})).json()
    own_server.kill()
    stale = await api.get(SESSION, headers={"Cache-Control": "stale-if-error=60"})

    assert stale.json()["expires_at"] == renewed["expires_at"] > before
