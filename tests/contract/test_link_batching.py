"""Many callers, few writes, few connections; what is large goes its own way."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trustme
import uvloop
from redis import Redis

from service.model import TlsVerify
from service.store import Link, RedisTarget
from service.store.link import LARGE_BYTES
from tests.proxies import FULL_SOCKET_BYTES, connections_of, proxy
from tests.scripts_of_tests import COUNT, ECHO
from tests.servers import HOST, Server, free_port, start_server
from tests.tls import server_context, tls_proxy

Run = Callable[[Coroutine[Any, Any, None]], None]


async def ask_all(link: Link, callers: int, text: str = "") -> None:
    """Let so many ask at once, and see that each has its own answer."""
    texts = [f"{number}{text}".encode() for number in range(callers)]
    replies = await asyncio.gather(*(link.run(ECHO, [], [each]) for each in texts))
    assert replies == [[each] for each in texts]


class CountingTransport:
    """Passes on what is written, and counts how often."""

    def __init__(self, link: Link) -> None:
        self.writes = 0
        self._transport = link._channels[0]._transport
        link._channels[0]._transport = self  # type: ignore[assignment] # what Channel asks of it

    def write(self, data: bytes) -> None:
        self.writes += 1
        assert self._transport
        self._transport.write(data)

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        assert self._transport
        self._transport.abort()


async def test_the_calls_of_one_turn_leave_in_one_write(server: Server) -> None:
    link = Link(RedisTarget(url=server.url))
    await ask_all(link, 1)
    transport = CountingTransport(link)
    await ask_all(link, 256)
    assert transport.writes == 1

    for _ in range(3):
        await ask_all(link, 1)
    assert transport.writes == 4
    await link.aclose()


@pytest.mark.parametrize(("most", "used"), [(1, 1), (2, 2), (4, 2)])
async def test_the_connections_are_few_whatever_comes(server: Server, most: int, used: int) -> None:
    link = Link(RedisTarget(url=server.url, max_connections=most))
    for text in ("", "x" * LARGE_BYTES):
        await ask_all(link, 64, text)
    assert connections_of(server) == used
    await link.aclose()


@pytest.mark.parametrize("is_large", [True, False])
async def test_who_knows_of_a_large_reply_can_say_so(server: Server, *, is_large: bool) -> None:
    link = Link(RedisTarget(url=server.url))
    await link.command("PING")
    await link.run(ECHO, [], ["x"], is_large=is_large)
    assert connections_of(server) == 1 + is_large
    await link.aclose()


async def test_what_is_small_does_not_wait_for_what_is_large(server: Server) -> None:
    async with proxy(server.port) as valve:
        link = Link(RedisTarget(url=valve.url))
        await link.command("ECHO", "x" * LARGE_BYTES)  # its lane is open
        valve.hold()
        large = asyncio.create_task(link.command("ECHO", "x" * FULL_SOCKET_BYTES))
        await asyncio.sleep(0.05)
        valve.release()
        assert await link.command("PING") == b"PONG"
        assert not large.done()
        assert await large == b"x" * FULL_SOCKET_BYTES
        await link.aclose()


async def test_calls_wait_until_a_full_socket_takes_more(server: Server) -> None:
    async with proxy(server.port) as valve:
        link = Link(RedisTarget(url=valve.url, max_connections=1))
        await link.command("PING")
        valve.hold()
        large = asyncio.create_task(link.command("ECHO", "x" * FULL_SOCKET_BYTES))
        await asyncio.sleep(0.01)
        small = [asyncio.create_task(link.run(COUNT, [b"n"], [])) for _ in range(5)]
        await asyncio.sleep(0.01)
        assert len(link._channels[0]._unsent) == 5
        valve.release()
        assert [await each for each in small] == [[n] for n in range(1, 6)]
        assert await large == b"x" * FULL_SOCKET_BYTES
        await link.aclose()


async def test_two_hundred_callers_need_one_of_twenty_connections() -> None:
    with start_server("valkey", "--maxclients", "20") as server:
        others = [Redis.from_url(server.url) for _ in range(15)]
        for other in others:
            other.ping()
        link = Link(RedisTarget(url=server.url))
        for _ in range(20):
            await asyncio.wait_for(ask_all(link, 200), 2)
        for other in others:
            other.close()
        await link.aclose()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("is_tls", [False, True])
def test_every_loop_and_tls_carry_it(server: Server, run: Run, *, is_tls: bool) -> None:
    async def scenario(target: RedisTarget) -> None:
        told: list[object] = []
        link = Link(target, on_invalidated=told.append)
        await ask_all(link, 64)
        await ask_all(link, 4, "x" * 3_000_000)
        await link.run(COUNT, [b"b:{x}"], [])
        await link.command("PING")
        assert told == [None, [b"b:{x}"]]
        assert link.is_tracking
        await link.aclose()

    if not is_tls:
        run(scenario(RedisTarget(url=server.url)))
        return
    port, authority = free_port(), trustme.CA()
    with tls_proxy(port, server.port, server_context(authority, HOST)):
        url = f"rediss://{HOST}:{port}"
        run(scenario(RedisTarget(url=url, tls_verify=TlsVerify.OFF)))
