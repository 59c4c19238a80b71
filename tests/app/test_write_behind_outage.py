"""Writing behind while Redis is away, frozen or full, and when its answers are lost."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient, Response
from redis import Redis

from service.app import JOURNAL_SECONDS, create_app
from service.http.lifespan import Stopping
from service.settings import load_settings
from tests.app.calls import MUTATIONS, READS, SESSION, make
from tests.app.test_write_behind import ASYNC, assert_behind, counters, relieve, say, told
from tests.conftest import run_app
from tests.polling import eventually
from tests.problems import assert_problem
from tests.proxies import Valve, proxy
from tests.servers import Server


@pytest.fixture
async def api(own_server: Server) -> AsyncIterator[AsyncClient]:
    """Give a client of a service whose server the test may end; a session is there."""
    async with run_app(load_settings({"REDIS_URL": own_server.url})) as api:
        await make(api)
        yield api


@pytest.fixture
async def valve(own_server: Server) -> AsyncIterator[Valve]:
    """Give a wire to that server that may be cut."""
    async with proxy(own_server.port) as valve:
        yield valve


@pytest.fixture
async def far(valve: Valve) -> AsyncIterator[AsyncClient]:
    """Give a client of a service behind that wire; a session is there, and its scripts."""
    async with run_app(load_settings({"REDIS_URL": valve.url})) as api:
        await make(api)
        yield api


async def until_empty(api: AsyncClient) -> None:
    async def figures() -> dict[str, int]:
        return await counters(api)

    await eventually(figures, lambda found: found["bytes"] == 0)


async def length(server: Server) -> int:
    """Return how many messages Redis holds, asked behind the wire."""
    with Redis.from_url(server.url) as redis:
        return int(redis.llen("b:{default:a}m")) - 3


async def test_a_reply_that_is_lost_doubles_nothing(
    far: AsyncClient, valve: Valve, own_server: Server
) -> None:
    valve.is_mute = True
    await say(far, 4)

    async def there() -> int:
        return await length(own_server)

    await eventually(there, lambda count: count == 4)  # applied, and nobody knows
    await say(far, 5)
    body = b'{"set":{"k":"behind"}}'
    assert_behind(await far.post(f"{SESSION}/state", content=body, headers=ASYNC))
    await say(far, 6)
    valve.cut()
    await asyncio.sleep(0.1)  # again, and the answer is lost again
    valve.is_mute = False
    valve.cut()

    await until_empty(far)
    assert await told(far) == [1, 2, 3, 4, 5, 6]
    assert (await far.get(f"{SESSION}/state/k")).json() == "behind"
    found = await counters(far)
    assert found["journalCalls"] > 4  # one of them was tried again
    assert (found["journalWritten"], found["journalRefused"], found["bytes"]) == (4, 0, 0)


async def test_without_the_number_of_the_call_it_would_be_doubled(
    far: AsyncClient, valve: Valve, own_server: Server
) -> None:
    """The control: what is sent twice without a key is there twice."""
    valve.is_mute = True
    lost = asyncio.create_task(MUTATIONS["append"].send(far))

    async def there() -> int:
        return await length(own_server)

    await eventually(there, lambda count: count == 4)
    valve.cut()
    assert assert_problem(await lost, 503)["outcome"] == "unknown"
    valve.is_mute = False
    await MUTATIONS["append"].send(far)

    assert await told(far) == [1, 2, 3, None, None]


async def test_what_was_taken_in_an_outage_is_there_afterwards_in_order_and_once(
    far: AsyncClient, valve: Valve
) -> None:
    valve.hold()
    for number in range(4, 44):
        await say(far, number)
        await say(far, number, session=f"/v1/sessions/{number % 5}")
        if number % 10 == 0:
            valve.cut()
        await asyncio.sleep(0.01)
    began = monotonic()
    valve.release()
    valve.cut()
    await until_empty(far)

    assert monotonic() - began < 5
    assert await told(far) == list(range(1, 44))
    for rest in range(5):
        expected = [number for number in range(4, 44) if number % 5 == rest]
        assert await told(far, f"/v1/sessions/{rest}") == expected


async def test_without_redis_whoever_asks_for_what_waits_is_503(
    api: AsyncClient, own_server: Server
) -> None:
    own_server.kill()
    await say(api, 4)
    stale = {"Cache-Control": "stale-if-error=60"}
    calls = [*READS.values(), *MUTATIONS.values()]
    answers = [await call.send(api, stale) for call in calls]
    for answer in answers:
        assert assert_problem(answer, 503)["outcome"] == "not_applied"
    # Of another session memory answers as ever.
    assert_problem(await api.get("/v1/sessions/b", headers=stale), 503)
    own_server.restart()
    await until_empty(api)

    assert await told(api) == [1, 2, 3, 4]  # what it had lost was played again


async def test_of_a_session_of_which_nothing_waits_memory_answers_as_ever(
    api: AsyncClient, own_server: Server
) -> None:
    fresh = await api.get(f"{SESSION}/messages")
    own_server.kill()
    await say(api, 1, session="/v1/sessions/b")
    stale = await api.get(f"{SESSION}/messages", headers={"Cache-Control": "stale-if-error=60"})
    own_server.restart()

    assert stale.content == fresh.content


async def test_a_frozen_redis_is_told_in_time(api: AsyncClient, own_server: Server) -> None:
    own_server.pause()
    try:
        began = monotonic()
        await say(api, 4, 5)
        assert monotonic() - began < 1
        answers = await asyncio.gather(api.get(SESSION), MUTATIONS["append"].send(api))
        assert monotonic() - began < 2.5
    finally:
        own_server.resume()
    for answer in answers:
        assert assert_problem(answer, 503)["outcome"] == "not_applied"

    async def session() -> Response:
        return await api.get(SESSION)

    await eventually(session, lambda answer: answer.status_code == 200, within_seconds=5)
    assert await told(api) == [1, 2, 3, 4, 5]


async def test_what_finds_no_room_in_redis_waits_for_it(
    api: AsyncClient, own_server: Server
) -> None:
    with Redis.from_url(own_server.url) as operator:
        operator.config_set("maxmemory", 1)
        await say(api, 4)
        assert_problem(await api.get(SESSION), 507, "redis_full")
        assert_problem(await MUTATIONS["append"].send(api), 507, "redis_full")
        assert (await counters(api))["journalRefused"] == 0
        operator.config_set("maxmemory", 0)
    await until_empty(api)

    assert await told(api) == [1, 2, 3, 4]


async def test_without_redis_nothing_is_offloaded_and_nothing_waits_for_that(
    api: AsyncClient, own_server: Server
) -> None:
    own_server.kill()
    await say(api, 4, 5)
    held_bytes = (await counters(api))["bytes"]
    began = monotonic()
    for tier in ("standard", "emergency"):
        assert (await relieve(api, tier))["offload"] == 0
    assert monotonic() - began < 4
    assert (await counters(api))["bytes"] == held_bytes
    own_server.restart()
    await until_empty(api)


async def test_a_full_journal_is_503_and_keeps_what_it_has(own_server: Server) -> None:
    settings = load_settings({"REDIS_URL": own_server.url, "JOURNAL_MAX_MB": "1"})
    async with run_app(settings) as api:
        own_server.kill()
        body, taken = b'{"messages":[{"t":"%b"}]}' % (b"x" * 100_000), 0
        while (
            answer := await api.post(f"{SESSION}/messages", content=body, headers=ASYNC)
        ).status_code == 202:
            taken += 1
        problem = assert_problem(answer, 503, "journal_full")
        health = (await api.get("/health")).json()
        own_server.restart()
        await until_empty(api)

        assert (problem["outcome"], int(answer.headers["Retry-After"]) >= 1) == (
            "not_applied",
            True,
        )
        assert taken == 10
        assert 1_000_000 < health["hotTier"]["journalBytes"] <= 1_048_576
        assert health["memory"]["raw"]["external"] >= health["hotTier"]["journalBytes"]
        assert (await api.get(f"{SESSION}/messages")).json()["total"] == taken


@pytest.mark.parametrize("is_away", [True, False])
async def test_at_the_end_what_waits_is_tried_until_15_seconds_after_the_signal(
    own_server: Server, caplog: pytest.LogCaptureFixture, *, is_away: bool
) -> None:
    stopping = Stopping(since=monotonic() - JOURNAL_SECONDS + 1.2)
    app = create_app(load_settings({"REDIS_URL": own_server.url}), stopping=stopping)
    async with LifespanManager(app) as manager:
        transport = ASGITransport(app=manager.app)
        async with AsyncClient(transport=transport, base_url="http://localhost") as api:
            await make(api)
            own_server.pause()
            await say(api, 4, 5)
            if not is_away:
                asyncio.get_running_loop().call_later(0.3, own_server.resume)
        began = monotonic()
    seconds = monotonic() - began
    own_server.resume()

    lines = [each for each in caplog.messages if each.endswith("not written")]
    assert seconds < 3
    if is_away:
        assert seconds > 1
        assert lines[0].startswith("2 journal entries (")
    else:
        assert lines == []
        assert await length(own_server) == 5
