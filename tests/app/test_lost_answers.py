"""Keyed calls around an outage: still running, lost and sent again, applied once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from httpx import AsyncClient, Response
from redis import Redis

from service.settings import load_settings
from service.store.keys import session_keys
from tests.app.calls import COLD, MUTATIONS, SESSION, everything, make
from tests.conftest import run_app
from tests.polling import eventually
from tests.problems import assert_problem
from tests.servers import Server
from tests.store_calls import ref_of

KEY = {"Idempotency-Key": "key-1"}
KEYED = ("append", "pop", "batch", "merge")


@pytest.fixture
async def api(own_server: Server) -> AsyncIterator[AsyncClient]:
    """Give a client of a service whose server the test may freeze; a session is there."""
    async with run_app(load_settings({"REDIS_URL": own_server.url})) as api:
        await make(api)
        yield api


async def until_it_runs(call: asyncio.Task[Response]) -> None:
    for _ in range(20):
        await asyncio.sleep(0)
    assert not call.done()


@pytest.mark.parametrize("does", KEYED)
async def test_a_call_that_still_runs_is_409(
    api: AsyncClient, own_server: Server, does: str
) -> None:
    own_server.pause()
    try:
        first = asyncio.create_task(MUTATIONS[does].send(api, KEY))
        await until_it_runs(first)
        second = await asyncio.wait_for(MUTATIONS[does].send(api, KEY), 0.5)
        other = asyncio.create_task(MUTATIONS[does].send(api, {"Idempotency-Key": "key-2"}))
        await until_it_runs(other)
    finally:
        own_server.resume()

    assert_problem(second, 409, "idempotency_in_progress")
    assert "Idempotency-Replayed" not in second.headers
    assert (await first).is_success
    assert (await other).is_success
    again = await MUTATIONS[does].send(api, KEY)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (
        (await first).status_code,
        "true",
    )


@pytest.mark.parametrize("does", KEYED)
async def test_a_call_whose_answer_was_lost_is_recognised(
    api: AsyncClient, own_server: Server, does: str
) -> None:
    # A script that the server does not know yet would have to be sent once more.
    assert (await api.delete(f"{SESSION}/messages?before=0")).json() == {"deleted": 0}
    before = (await api.get(SESSION)).headers["ETag"]
    own_server.pause()
    try:
        lost = await MUTATIONS[does].send(api, KEY)
    finally:
        own_server.resume()
    assert assert_problem(lost, 503)["outcome"] == "unknown"

    async def etag() -> str:
        return str((await api.get(SESSION, headers=COLD)).headers.get("ETag", before))

    # What was on its way is done when the server goes on.
    await eventually(etag, lambda now: now != before)
    applied = await everything(api)
    again = await MUTATIONS[does].send(api, KEY)
    assert again.is_success
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["ETag"] == (await api.get(SESSION)).headers["ETag"]
    assert await everything(api) == applied


async def test_a_call_that_never_left_is_done_when_it_is_sent_again(
    api: AsyncClient, own_server: Server
) -> None:
    own_server.kill()
    await api.get(SESSION)  # now the end of every connection is seen
    refused = await MUTATIONS["append"].send(api, KEY)
    assert assert_problem(refused, 503)["outcome"] == "not_applied"
    own_server.restart()

    async def send() -> Response:
        return await MUTATIONS["append"].send(api, KEY)

    done = await eventually(send, lambda response: response.status_code != 503)
    assert done.status_code == 201
    assert "Idempotency-Replayed" not in done.headers


@pytest.mark.parametrize("does", KEYED)
async def test_a_full_redis_refuses_a_keyed_call_without_remembering_it(
    api: AsyncClient, own_server: Server, does: str
) -> None:
    with Redis.from_url(own_server.url) as operator:
        operator.config_set("maxmemory", 1)
        first = await MUTATIONS[does].send(api, KEY)
        operator.config_set("maxmemory", 0)
    again = await MUTATIONS[does].send(api, KEY)

    if does == "pop":  # it shrinks: Redis takes it, and its record with it
        assert first.status_code == 200
        assert again.content == first.content
    else:
        assert_problem(first, 507, "redis_full")
        assert again.is_success
        assert "Idempotency-Replayed" not in again.headers


async def test_a_call_is_forgotten_after_24_hours(api: AsyncClient, own_server: Server) -> None:
    await MUTATIONS["append"].send(api, KEY)
    log = session_keys(ref_of("a"))[0]
    with Redis.from_url(own_server.url) as redis:
        age = """
            local calls = cmsgpack.unpack(redis.call('LINDEX', KEYS[1], 2))
            calls[1][3] = calls[1][3] - ARGV[1]
            redis.call('LSET', KEYS[1], 2, cmsgpack.pack(calls))
        """
        redis.eval(age, 1, log, 1_438)
        assert "Idempotency-Replayed" in (await MUTATIONS["append"].send(api, KEY)).headers
        redis.eval(age, 1, log, 2)
        assert "Idempotency-Replayed" not in (await MUTATIONS["append"].send(api, KEY)).headers
    assert (await api.get(f"{SESSION}/messages")).json()["total"] == 5
