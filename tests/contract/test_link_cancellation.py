"""Callers who give up: the reply that they did not wait for must never meet another caller."""

import asyncio
import random
from contextlib import suppress

import pytest

from service.store import Link, RedisTarget
from service.store.channel import Channel
from tests.proxies import connections_of
from tests.servers import Server

CALLS = 3_000
CALLERS = 6
TURNS = (0, 1, 2, 3, 5, 20, 10_000)
"""Of the event loop, after which a caller gives up: before it is sent, after it, never."""


class CarelessChannel(Channel):
    """Forgets whom a reply was for when the caller is gone: what Channel must never do."""

    def data_received(self, data: bytes) -> None:
        for call in [call for call in self._sent if call.reply.done()]:
            self._sent.remove(call)
        super().data_received(data)


async def count_wrong_answers(link: Link) -> tuple[int, int, int]:
    """Ask for echoes and give up at random; count right answers, wrong ones and cancelled calls."""
    dice, right, wrong, cancelled = random.Random(7), 0, 0, 0

    async def ask(number: int) -> None:
        nonlocal right, wrong, cancelled
        sent = f"{number} {'x' * dice.choice((1, 20_000))}"
        call = asyncio.create_task(link.command("ECHO", sent))
        for _ in range(dice.choice(TURNS)):
            if call.done():
                break
            await asyncio.sleep(0)
        call.cancel()
        with suppress(asyncio.CancelledError):
            reply = await call
            right += reply == sent.encode()
            wrong += reply != sent.encode()
        cancelled += call.cancelled()

    for start in range(0, CALLS, CALLERS):
        await asyncio.gather(*(ask(start + n) for n in range(CALLERS)))
    return right, wrong, cancelled


async def test_a_cancelled_call_never_answers_another_one(server: Server) -> None:
    link = Link(RedisTarget(url=server.url))
    right, wrong, cancelled = await count_wrong_answers(link)

    assert wrong == 0
    assert right > CALLS / 20
    assert cancelled > CALLS / 20
    assert await link.command("ECHO", "still there") == b"still there"
    assert connections_of(server) == 1
    await link.aclose()


async def test_the_storm_shows_a_channel_that_forgets_cancelled_calls(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.link.Channel", CarelessChannel)
    link = Link(RedisTarget(url=server.url))
    _, wrong, _ = await count_wrong_answers(link)
    await link.aclose()

    assert wrong > 0


async def test_a_call_that_is_cancelled_before_it_leaves_is_never_sent(server: Server) -> None:
    link = Link(RedisTarget(url=server.url, max_connections=1))
    await link.command("SET", "counter", 0)
    for turns, sent in ((0, 0), (1, 50)):
        for _ in range(50):
            call = asyncio.create_task(link.command("INCR", "counter"))
            await asyncio.sleep(0)  # it is packed
            for _ in range(turns):
                await asyncio.sleep(0)  # it is written
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert await link.command("GET", "counter") == str(sent).encode()
    await link.aclose()
