"""What Redis tells of changed keys, between the replies, and when nothing can be told."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from redis import Redis

from service.errors import Unavailable
from service.store import Link, RedisTarget
from service.store.tracking import Tracking
from tests.polling import eventually
from tests.scripts_of_tests import COUNT
from tests.servers import Server, start_server

Told = list[Sequence[bytes] | None]


@pytest.fixture
def told() -> Told:
    """Give what the link tells."""
    return []


@pytest.fixture
async def link(server: Server, told: Told) -> AsyncIterator[Link]:
    """Give a link that listens, and has asked Redis once."""
    link = Link(RedisTarget(url=server.url), on_invalidated=told.append)
    assert not link.is_tracking
    assert await link.command("PING") == b"PONG"
    told.clear()
    yield link
    await link.aclose()


async def test_changes_of_others_are_told_before_later_replies(
    link: Link, server: Server, told: Told
) -> None:
    assert link.is_tracking
    with Redis.from_url(server.url) as redis:
        for number in range(20):
            redis.set(f"b:{{{number}}}", "changed")
            redis.set(f"other {number}", "changed")
            assert await link.command("ECHO", number) == str(number).encode()
            assert told == [[f"b:{{{number}}}".encode()]]
            told.clear()


async def test_own_changes_are_told_too_and_every_reply_finds_its_caller(
    link: Link, told: Told
) -> None:
    keys = [f"b:{{{number}}}".encode() for number in range(64)]
    replies = await asyncio.gather(*(link.run(COUNT, [key], []) for key in keys))
    await link.command("PING")

    assert replies == [[1]] * 64
    assert sorted(key for group in told for key in group or ()) == sorted(keys)


async def test_a_flush_changes_everything(link: Link, server: Server, told: Told) -> None:
    with Redis.from_url(server.url) as redis:
        redis.flushall()
    await link.command("PING")
    assert told == [None]


async def test_a_lost_connection_changes_everything(link: Link, server: Server, told: Told) -> None:
    with Redis.from_url(server.url) as redis:
        redis.client_kill_filter(_type="normal", skipme=True)

    async def is_tracking() -> bool:
        return link.is_tracking

    await eventually(is_tracking, lambda it: not it)
    assert told == [None]
    await link.command("PING")
    assert link.is_tracking
    assert told == [None, None]  # what was read before nobody has watched


async def test_silence_is_not_trusted_for_long(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.tracking.TRUST_SECONDS", 0.3)
    seen = []
    for pause_seconds in (0, 0.31):
        await link.command("PING")
        await asyncio.sleep(pause_seconds)
        seen.append(link.is_tracking)
    await link.command("PING")
    assert [*seen, link.is_tracking] == [True, False, True]


@pytest.mark.parametrize("command", ["HELLO", "CLIENT|TRACKING"])
async def test_a_server_that_refuses_is_used_without(command: str, told: Told) -> None:
    options = ("--rename-command", "HELLO", "") if command == "HELLO" else ()
    with (
        start_server("valkey", *options) as server,
        Redis.from_url(server.url, protocol=2) as redis,
    ):
        redis.execute_command("ACL", "SETUSER", "default", f"-{command.lower()}")
        link = Link(RedisTarget(url=server.url), on_invalidated=told.append)
        await link.command("PING")
        assert not link.is_tracking
        assert told == [None]
        redis.set("b:{x}", "changed")
        assert await link.command("ECHO", "x") == b"x"
        assert told == [None]
        await link.aclose()


async def test_a_server_that_is_not_there_tells_nothing(server: Server, told: Told) -> None:
    link = Link(RedisTarget(url="redis://127.0.0.1:1"), on_invalidated=told.append)
    with pytest.raises(Unavailable):
        await link.command("PING")
    assert not link.is_tracking
    assert told == []
    await link.aclose()


async def test_a_connection_that_ends_before_it_tracks_is_none_that_does(told: Told) -> None:
    with start_server("valkey") as server:
        link = Link(RedisTarget(url=server.url), on_invalidated=told.append)
        with Redis.from_url(server.url) as redis:
            redis.client_pause(5_000)
        call = asyncio.ensure_future(link.command("PING"))
        await asyncio.sleep(0.05)
        server.kill()
        with pytest.raises(Unavailable):
            await call
        assert not link.is_tracking
        assert set(told) <= {None}
        await link.aclose()


def test_only_changes_are_told(told: Told) -> None:
    tracking = Tracking(told.append)
    tracking.pushed([b"message", [b"news"]])
    tracking.pushed([b"invalidate", [b"b:{x}"]])
    assert told == [[b"b:{x}"]]


async def test_what_is_told_to_nobody_is_dropped(server: Server) -> None:
    link = Link(RedisTarget(url=f"{server.url}?protocol=3"))
    await link.command("CLIENT", "TRACKING", "ON", "BCAST")
    assert [await link.run(COUNT, [b"n"], []) for _ in range(3)] == [[1], [2], [3]]
    await link.aclose()


async def test_without_a_listener_nothing_is_asked_for(server: Server) -> None:
    link = Link(RedisTarget(url=server.url))
    await link.command("PING")
    with Redis.from_url(server.url) as redis:
        redis.set("b:{x}", "changed")
    assert await link.command("PING") == b"PONG"
    assert not link.is_tracking
    await link.aclose()
