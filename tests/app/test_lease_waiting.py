"""Waiting for a lease between processes, behind sockets, and what the lease is for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from time import monotonic

import pytest
from httpx import AsyncClient, Response
from redis import Redis

from service.http.lifespan import Stopping
from service.settings import load_settings
from tests.app.conftest import run_with_state
from tests.conftest import Serve
from tests.polling import eventually
from tests.problems import assert_problem
from tests.servers import Server

LEASE = "/v1/sessions/a/lease"
COUNTER = "/v1/sessions/a/state/count"
CLIENTS = 6
TURNS = 5


@pytest.fixture
async def two(serve: Serve) -> AsyncIterator[list[AsyncClient]]:
    """Give clients of two services on one Redis, as the old and the new dyno are."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(serve()) for _ in range(2)]


async def taken(api: AsyncClient, **wish: float) -> dict[str, str]:
    """Take the lease; return the header that proves it."""
    response = await api.post(LEASE, json=wish)
    assert response.status_code == 201, response.text
    return {"Lease-Token": response.json()["token"]}


async def test_a_lease_is_handed_over_between_processes(two: list[AsyncClient]) -> None:
    old, new = two
    mine = await taken(old)
    waiting = asyncio.create_task(new.post(LEASE, json={"wait": 20}))
    assert_problem(await new.post(LEASE, json={"wait": 0.1}), 423)
    assert not waiting.done()
    began = monotonic()
    await old.delete(LEASE, headers=mine)

    assert (await waiting).status_code == 201
    assert monotonic() - began < 1
    assert_problem(await old.patch(LEASE, headers=mine), 409)


async def test_a_wait_that_is_in_vain_ends_in_its_time(two: list[AsyncClient]) -> None:
    old, new = two
    await taken(old)
    began = monotonic()
    answers = await asyncio.gather(*(new.post(LEASE, json={"wait": 0.3}) for _ in range(5)))

    assert 0.3 <= monotonic() - began < 1
    for answer in answers:
        assert_problem(answer, 423, "leased")
        assert answer.headers["Retry-After"] == "30"


async def test_a_lease_that_runs_out_passes_on(two: list[AsyncClient]) -> None:
    old, new = two
    await taken(old, ttl=0.3)

    began = monotonic()
    await taken(new, wait=20)
    assert 0.2 < monotonic() - began < 1.3


async def test_redis_going_away_ends_a_wait(own_server: Server, start: Serve) -> None:
    async with start(REDIS_URL=own_server.url) as api:
        await taken(api)
        waiting = [asyncio.create_task(api.post(LEASE, json={"wait": 20})) for _ in range(3)]
        assert_problem(await api.post(LEASE, json={"wait": 0.1}), 423)
        own_server.kill()
        began = monotonic()

        for answer in await asyncio.gather(*waiting):
            assert_problem(answer, 503, "unavailable")
            assert answer.headers["Retry-After"]
        assert monotonic() - began < 2


async def test_stopping_ends_every_wait(valkey: Server) -> None:
    stopping = Stopping()
    settings = load_settings({"REDIS_URL": valkey.url})
    async with run_with_state(settings, stopping=stopping) as api:
        await taken(api)
        waiting = [asyncio.create_task(api.post(LEASE, json={"wait": 20})) for _ in range(3)]
        assert_problem(await api.post(LEASE, json={"wait": 0.1}), 423)
        stopping.is_set = True
        began = monotonic()

        for answer in await asyncio.gather(*waiting):
            assert assert_problem(answer, 503, "stopping")["outcome"] == "not_applied"
        assert monotonic() - began < 1


def looks(redis: Redis) -> int:
    """How often the lease was looked at, by all processes."""
    calls: int = redis.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    return calls


class Waiter:
    """A client that asks for the lease over a socket of its own."""

    def __init__(self, wire: AsyncClient, redis: Redis) -> None:
        self._port = wire.base_url.port
        self._redis = redis

    async def ask(self) -> None:
        """Ask, and return when the service polls for this client."""
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._reader = reader
        before = looks(self._redis)
        body = b'{"wait":20}'
        head = f"POST {LEASE} HTTP/1.1\r\nHost: b\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)

        async def since() -> int:
            return looks(self._redis) - before

        await eventually(since, lambda count: count >= 2)

    async def leave(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def status(self) -> bytes:
        async with asyncio.timeout(5):
            return (await self._reader.readline()).split()[1]


@pytest.fixture
async def waiter(wire: AsyncClient, valkey: Server) -> AsyncIterator[Waiter]:
    with Redis.from_url(valkey.url) as redis:
        waiter = Waiter(wire, redis)
        yield waiter
        await waiter.leave()


async def test_a_client_that_waits_on_a_socket_gets_the_lease(
    wire: AsyncClient, waiter: Waiter
) -> None:
    mine = await taken(wire)
    await waiter.ask()
    await wire.delete(LEASE, headers=mine)

    assert await waiter.status() == b"201"
    assert_problem(await wire.post(LEASE), 423)


async def test_a_client_that_has_gone_does_not_get_the_lease(
    wire: AsyncClient, waiter: Waiter, caplog: pytest.LogCaptureFixture
) -> None:
    mine = await taken(wire)
    await waiter.ask()
    await waiter.leave()
    await wire.delete(LEASE, headers=mine)

    # Longer than a pause: the one who has gone has looked, had he still been waited for.
    await asyncio.sleep(0.25)
    assert (await wire.post(LEASE)).status_code == 201
    assert not caplog.records


async def test_a_client_that_has_gone_does_not_hold_up_those_behind(
    wire: AsyncClient, waiter: Waiter
) -> None:
    mine = await taken(wire)
    await waiter.ask()
    behind = asyncio.create_task(wire.post(LEASE, json={"wait": 20}))
    assert_problem(await wire.post(LEASE, json={"wait": 0.05}), 423)
    await waiter.leave()
    await wire.delete(LEASE, headers=mine)

    async with asyncio.timeout(1):
        assert (await behind).status_code == 201


async def increment(api: AsyncClient) -> None:
    """Read, then write: what two at a time must not do."""
    count = (await api.get(COUNTER)).json()
    assert (await api.put(COUNTER, json=count + 1)).status_code == 204


async def increment_under_lease(api: AsyncClient) -> None:
    mine = await taken(api, wait=20)
    await increment(api)
    assert (await api.delete(LEASE, headers=mine)).status_code == 204


async def counted(two: list[AsyncClient], *, under_lease: bool) -> int:
    """Let clients of both services count as often as they can at once; return the count."""
    await two[0].put(COUNTER, json=0)
    step = increment_under_lease if under_lease else increment

    async def client(number: int) -> None:
        for _ in range(TURNS):
            await step(two[number % 2])

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    answer: Response = await two[1].get(COUNTER)
    count: int = answer.json()
    return count


async def test_under_the_lease_nothing_is_lost(two: list[AsyncClient]) -> None:
    assert await counted(two, under_lease=True) == CLIENTS * TURNS


async def test_without_it_something_would_be_lost(two: list[AsyncClient]) -> None:
    assert await counted(two, under_lease=False) < CLIENTS * TURNS
