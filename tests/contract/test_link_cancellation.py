"""Callers who give up: the reply that they did not wait for must never meet another caller."""

import asyncio
import random

import pytest

from service.store import Link, RedisTarget
from service.store.link import Argument
from tests.servers import Server

CALLS = 3_000
CONNECTIONS = 3
GIVE_UP_SECONDS = 0.004


class CarelessLink(Link):
    """Keeps a connection on which a reply is still under way: what Link must never do."""

    async def command(self, *args: Argument) -> object:
        async with self._places:
            connection = self._take()
            try:
                await connection.connect()  # type: ignore[no-untyped-call] # redis-py has it bare
                await connection.send_command(*args, check_health=False)
                return await connection.read_response(
                    disable_decoding=True, disconnect_on_error=False
                )
            finally:
                self._idle.append(connection)


async def count_wrong_answers(link: Link) -> tuple[int, int, int]:
    """Ask for echoes and give up at random; count right answers, wrong ones and cancelled calls."""
    dice, right, wrong, cancelled = random.Random(7), 0, 0, 0

    async def ask(number: int) -> None:
        nonlocal right, wrong, cancelled
        sent = f"{number} {'x' * dice.choice((1, 20_000))}"
        try:
            async with asyncio.timeout(dice.random() * GIVE_UP_SECONDS):
                reply = await link.command("ECHO", sent)
        except TimeoutError:
            cancelled += 1
        else:
            right += reply == sent.encode()
            wrong += reply != sent.encode()

    for start in range(0, CALLS, 2 * CONNECTIONS):
        await asyncio.gather(*(ask(start + n) for n in range(2 * CONNECTIONS)))
    return right, wrong, cancelled


async def test_a_cancelled_call_never_answers_another_one(server: Server) -> None:
    link = Link(RedisTarget(url=server.url, max_connections=CONNECTIONS))
    right, wrong, cancelled = await count_wrong_answers(link)

    assert wrong == 0
    assert right > CALLS / 20
    assert cancelled > CALLS / 20
    assert await link.command("ECHO", "still there") == b"still there"
    assert len(link._idle) <= CONNECTIONS
    await link.aclose()


async def test_the_storm_shows_a_link_that_keeps_used_connections(server: Server) -> None:
    link = CarelessLink(RedisTarget(url=server.url, max_connections=CONNECTIONS))
    _, wrong, _ = await count_wrong_answers(link)
    await link.aclose()

    assert wrong > 0


async def test_a_cancelled_call_does_not_keep_its_connection(server: Server) -> None:
    link = Link(RedisTarget(url=server.url, max_connections=1))
    for _ in range(50):
        call = asyncio.create_task(link.command("ECHO", "given up"))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    assert await link.command("ECHO", "mine") == b"mine"
    await link.aclose()
