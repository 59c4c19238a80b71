"""Reading all back: every session, past the hot tier and through it, compared byte for byte."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from scripts.storming.bot import NO_CACHE, Bot, NotRead, Scene
from scripts.storming.ledger import Verdict

Check = Callable[[Bot, str], Awaitable[Verdict]]


async def read_back(scene: Scene, readers: int) -> Verdict:
    """Compare all that is in the ledger, with so many readers at once; first with `no-cache`."""
    total = Verdict()
    checks = _checks(scene)

    async def work() -> None:
        nonlocal total
        bot = Bot(scene)
        for check in checks:
            for headers in (NO_CACHE, ""):
                verdict = await _checked(check, bot, headers)
                total = total.plus(verdict)  # after the await: the others add, too
        bot.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(readers):
            group.create_task(work())
    return total


async def _checked(check: Check, bot: Bot, headers: str) -> Verdict:
    try:
        return await check(bot, headers)
    except NotRead:
        return Verdict(unread=1)


def _checks(scene: Scene) -> Iterator[Check]:
    for session in scene.ledger.logs:
        yield partial(_check_messages, scene, session)
    for session in scene.ledger.values:
        yield partial(_check_value, scene, session)


async def _check_messages(scene: Scene, session: str, bot: Bot, headers: str) -> Verdict:
    return scene.ledger.check_messages(session, await bot.read_messages(session, headers))


async def _check_value(scene: Scene, session: str, bot: Bot, headers: str) -> Verdict:
    return scene.ledger.check_value(session, await bot.read_value(session, headers))
