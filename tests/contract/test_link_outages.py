"""Redis frozen, cut off or emptied of scripts while many calls are under way."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from redis import Redis

from service.errors import Outcome, Unavailable
from service.store import Link, RedisTarget
from service.store.link import Reply
from tests.polling import eventually
from tests.proxies import FULL_SOCKET_BYTES, proxy
from tests.scripts_of_tests import COUNT, ECHO
from tests.servers import Server, start_server


@pytest.fixture
async def link(server: Server) -> AsyncIterator[Link]:
    """Give a link that is connected; the server knows the scripts."""
    link = Link(RedisTarget(url=server.url))
    await count(link, "other")
    await echo(link)
    yield link
    await link.aclose()


async def count(link: Link, key: str = "n") -> Reply:
    return await link.run(COUNT, [key.encode()], [])


async def echo(link: Link) -> Reply:
    return await link.run(ECHO, [], ["x"])


async def outcome_of(call: asyncio.Future[Reply]) -> Outcome | Reply | None:
    try:
        return await call
    except Unavailable as error:
        return error.outcome


async def test_all_are_told_in_time_that_redis_is_frozen() -> None:
    with start_server("valkey") as server:
        link = Link(RedisTarget(url=server.url))
        await asyncio.gather(count(link), echo(link))
        server.pause()
        try:
            began = monotonic()
            writes = [asyncio.ensure_future(count(link)) for _ in range(32)]
            reads = [asyncio.ensure_future(echo(link)) for _ in range(32)]
            assert {await outcome_of(call) for call in writes} == {Outcome.UNKNOWN}
            assert {await outcome_of(call) for call in reads} == {Outcome.NOT_APPLIED}
            assert await outcome_of(asyncio.ensure_future(count(link))) is Outcome.NOT_APPLIED
            assert monotonic() - began < 4
            assert not link.is_answering
        finally:
            server.resume()

        async def answers() -> bool:
            return not isinstance(await outcome_of(asyncio.ensure_future(echo(link))), Outcome)

        assert await eventually(answers, bool, within_seconds=1)
        await link.aclose()


async def test_a_cut_connection_leaves_sent_writes_unknown_and_repeats_reads(
    link: Link, server: Server
) -> None:
    with Redis.from_url(server.url) as redis:
        redis.client_pause(5_000, all=False)
        writes = [asyncio.ensure_future(count(link)) for _ in range(8)]
        reads = [asyncio.ensure_future(echo(link)) for _ in range(8)]
        await asyncio.sleep(0.05)
        redis.client_kill_filter(_type="normal", skipme=True)
        redis.client_unpause()
        assert {await outcome_of(call) for call in writes} == {Outcome.UNKNOWN}
        assert [await call for call in reads] == [[b"x"]] * 8
        assert redis.get("n") is None


async def test_what_had_not_left_when_the_connection_ended_was_not_applied(
    server: Server,
) -> None:
    async with proxy(server.port) as valve:
        link = Link(RedisTarget(url=valve.url, max_connections=1))
        await count(link, "other")
        valve.hold()
        left = asyncio.ensure_future(link.run(COUNT, [b"n"], ["x" * FULL_SOCKET_BYTES]))
        await asyncio.sleep(0.01)
        kept = asyncio.ensure_future(count(link))
        await asyncio.sleep(0.01)
    assert await outcome_of(left) is Outcome.UNKNOWN
    assert await outcome_of(kept) is Outcome.NOT_APPLIED
    await link.aclose()


async def test_what_had_not_left_is_sent_on_the_next_connection(server: Server) -> None:
    async with proxy(server.port) as valve:
        link = Link(RedisTarget(url=valve.url, max_connections=1))
        await count(link, "other")
        valve.hold()
        left = asyncio.ensure_future(link.run(COUNT, [b"n"], ["x" * FULL_SOCKET_BYTES]))
        await asyncio.sleep(0.01)
        kept = asyncio.ensure_future(count(link))
        await asyncio.sleep(0.01)
        valve.cut()
        valve.release()
        assert await outcome_of(left) is Outcome.UNKNOWN
        assert await kept == [1]
        await link.aclose()


async def test_scripts_that_are_forgotten_under_load_heal_themselves(
    link: Link, server: Server
) -> None:
    calls, stop = 0, asyncio.Event()

    async def keep_counting() -> None:
        nonlocal calls
        while not stop.is_set():
            await count(link)
            calls += 1

    callers = [asyncio.ensure_future(keep_counting()) for _ in range(16)]
    with Redis.from_url(server.url) as redis:
        for _ in range(20):
            redis.script_flush()
            await asyncio.sleep(0.005)
        stop.set()
        await asyncio.gather(*callers)
        assert int(redis.get("n") or 0) == calls > 100


async def test_a_late_answer_does_not_end_a_connection_that_speaks(server: Server) -> None:
    """What is late fails alone; its answer is dropped when it comes."""
    link = Link(RedisTarget(url=server.url), on_invalidated=lambda _: None)
    await link.command("PING")
    channel = link._channels[0]
    late = asyncio.ensure_future(link.command("BLPOP", "none", 2))
    with Redis.from_url(server.url) as redis:
        while not late.done():
            redis.set("b:{x}", "changed")
            await asyncio.sleep(0.05)
    with pytest.raises(Unavailable, match="timed out"):
        await late
    assert await link.command("ECHO", "mine") == b"mine"
    assert link._channels[0] is channel
    await link.aclose()


async def test_calls_that_wait_fail_when_the_link_is_closed(link: Link, server: Server) -> None:
    with Redis.from_url(server.url) as redis:
        redis.client_pause(5_000, all=False)
        waiting = asyncio.ensure_future(count(link))
        await asyncio.sleep(0.01)
        await link.aclose()
        redis.client_unpause()
    assert await outcome_of(waiting) is Outcome.UNKNOWN
