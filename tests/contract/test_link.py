"""The link to Redis: what it tells when it is not Redis that is in the way."""

import asyncio

import pytest
from redis import Redis

from service.errors import Outcome, Unavailable
from service.model import TlsVerify
from service.store import Link, RedisTarget
from tests.polling import eventually
from tests.proxies import FULL_SOCKET_BYTES, proxy
from tests.scripts_of_tests import COUNT, script_of
from tests.servers import HOST, Server, free_port


async def test_waiting_for_our_own_calls_says_nothing_of_redis(server: Server) -> None:
    """What left before fills the socket, while Redis goes on to tell of other things."""
    async with proxy(server.port) as valve:
        link = Link(RedisTarget(url=valve.url, max_connections=1), on_invalidated=lambda _: None)
        await link.command("PING")
        valve.hold()
        given_up = asyncio.create_task(link.command("ECHO", "x" * FULL_SOCKET_BYTES))
        await asyncio.sleep(0.01)
        given_up.cancel()
        waiting = asyncio.create_task(link.command("PING"))
        with Redis.from_url(server.url) as redis:
            while not waiting.done():
                redis.set("b:{x}", "changed")
                await asyncio.sleep(0.02)
        with pytest.raises(Unavailable, match="busy") as caught:
            await waiting
        assert caught.value.outcome is Outcome.NOT_APPLIED
        assert link.is_answering
        await link.aclose()


async def test_a_connection_that_redis_has_closed_is_made_anew(server: Server) -> None:
    link = Link(RedisTarget(url=server.url, max_connections=1))
    await link.command("PING")
    with Redis.from_url(server.url) as redis:
        redis.client_kill_filter(_type="normal", skipme=True)

    async def has_heard() -> bool:
        return link._channels[0].is_lost

    await eventually(has_heard, bool)
    assert link.is_answering
    assert await link.command("PING") == b"PONG"
    await link.aclose()


async def test_what_answers_otherwise_than_our_scripts_is_no_redis(server: Server) -> None:
    link = Link(RedisTarget(url=server.url))
    with pytest.raises(Unavailable, match="no Redis") as caught:
        await link.run(script_of(b"return 'hello'"), [], [])
    assert caught.value.outcome is Outcome.UNKNOWN
    await link.aclose()


@pytest.mark.parametrize(
    ("url", "verify", "is_verified"),
    [
        ("redis://host", TlsVerify.FULL, None),
        ("rediss://host", TlsVerify.FULL, True),
        ("rediss://host", TlsVerify.CA, True),
        ("rediss://host", TlsVerify.OFF, False),
        ("nonsense", TlsVerify.FULL, None),
    ],
)
def test_whether_the_server_is_who_it_says(
    *, url: str, verify: TlsVerify, is_verified: bool | None
) -> None:
    assert Link(RedisTarget(url=url, tls_verify=verify)).is_tls_verified is is_verified


async def test_a_redis_that_does_not_answer_in_time_is_told_of(server: Server) -> None:
    link = Link(RedisTarget(url=server.url))
    await link.command("PING")
    with Redis.from_url(server.url) as redis:
        redis.client_pause(1_600)
    with pytest.raises(Unavailable, match="timed out"):
        await link.command("PING")
    assert not link.is_answering
    await link.aclose()


@pytest.mark.parametrize("answer", [b"+OK\r\n+more\r\n", b"?\r\n"])
async def test_who_says_more_than_was_asked_is_no_redis(answer: bytes) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(greet, HOST, port := free_port()):
        link = Link(RedisTarget(url=f"redis://{HOST}:{port}"))
        with pytest.raises(Unavailable, match="connection lost") as caught:
            await link.run(COUNT, [b"n"], [])
        assert caught.value.outcome is Outcome.NOT_APPLIED
        await link.aclose()
