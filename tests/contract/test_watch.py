"""What the watch tells of a Redis that is there, away, and there again."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from redis import Redis

from service.clock import SystemClock
from service.store import Link, RedisTarget, Watch
from service.store.watch import BACK_OFF_SECONDS, INTERVAL_SECONDS, _facts
from tests.conftest import FLAVOURS
from tests.polling import eventually
from tests.servers import Server, start_server


@pytest.fixture
async def link(server: Server) -> AsyncIterator[Link]:
    link = Link(RedisTarget(url=server.url))
    yield link
    await link.aclose()


def watch_of(link: Link) -> Watch:
    return Watch(link, SystemClock(), connections_max=4)


async def test_it_tells_what_the_server_tells(
    link: Link, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    watch = watch_of(link)
    assert not watch.status.connected
    with caplog.at_level(logging.INFO):
        await watch.look()
        await watch.look()

    status = watch.status
    assert status.connected
    assert status.latency_ms is not None
    assert status.used_memory_bytes is not None
    assert (status.max_memory_bytes, status.policy) == (None, "noeviction")
    assert (status.persistence, status.connections_max) == ("none", 4)
    assert status.clients is not None
    assert status.last_error is None
    assert [record.message for record in caplog.records] == ["Connected to Redis."]
    assert watch._pause_seconds() == INTERVAL_SECONDS


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize(
    ("options", "persistence"), [(("--appendonly", "yes"), "aof"), ((), "snapshots")]
)
async def test_it_tells_what_would_survive(
    flavour: str, options: tuple[str, ...], persistence: str
) -> None:
    with start_server("valkey" if flavour == "valkey" else "redis62", *options) as server:
        link = Link(RedisTarget(url=server.url))
        watch = watch_of(link)
        with Redis.from_url(server.url) as redis:

            async def look() -> str | None:
                if not options:
                    redis.save()
                await watch.look()
                return watch.status.persistence

            # A save within the server's first second says nothing yet.
            assert await eventually(look, lambda told: told == persistence)
        await link.aclose()


async def test_it_looks_sooner_while_redis_is_away() -> None:
    watch = watch_of(Link(RedisTarget(url=None)))
    pauses = []
    for _ in range(6):
        await watch.look()
        pauses.append(watch._pause_seconds())

    assert pauses == [*BACK_OFF_SECONDS, BACK_OFF_SECONDS[-1], BACK_OFF_SECONDS[-1]]
    assert watch.status.last_error is not None


@pytest.mark.parametrize("is_active", [True, False])
async def test_it_looks_until_it_is_ended(link: Link, *, is_active: bool) -> None:
    watch = watch_of(link)
    running = asyncio.create_task(watch.run(is_active=is_active))

    async def is_connected() -> bool:
        return watch.status.connected

    await eventually(is_connected, bool)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_it_leaves_redis_alone_while_calls_say_that_it_answers(link: Link) -> None:
    await link.command("PING")
    watch = watch_of(link)
    running = asyncio.create_task(watch.run(is_active=False))
    await asyncio.sleep(0.01)
    running.cancel()

    assert watch.status.connected
    assert watch.status.latency_ms is None


def test_what_a_server_hides_is_not_known() -> None:
    nothing = watch_of(Link(RedisTarget(url=None))).status

    assert _facts(nothing, {}) == nothing
