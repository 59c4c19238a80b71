"""The loads: what many clients do to the service at once."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

from scripts.storming.bot import Bot, Scene
from scripts.storming.hostile import drip_bodies, sip_answers
from scripts.storming.ledger import Recipe

KIB, MB = 1_024, 1_000_000
PHASE_SECONDS = 0.3
BURST_SECONDS = 1.0
"""At most: both are drawn anew for each burst, a survival by the phase would be luck."""

READERS = 8
CROWD = 64
CHATS = 200
MANY_CHATS = 40_000
RESTORED = 15_000
UPLOADS = 100
DRIPS = 60
SIPS = 150
LARGE_VALUES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """What a load gets: how many bursts, its dice, the scene, and the numbers of its texts."""

    bursts: int
    dice: Random
    scene: Scene
    numbers: Iterator[int]

    def recipes(self, *sizes: int) -> list[Recipe]:
        """Return texts of the given sizes that were never sent before."""
        return [Recipe(next(self.numbers), size) for size in sizes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One load. `restarts` = the service is started anew before all is read back by `readers`.

    `is_endless` = its clients go on sending whatever they are told: some may not hear it.
    """

    run: Callable[[Storm], Awaitable[None]]
    seconds: float = 15.0
    restarts: bool = False
    is_endless: bool = False
    readers: int = READERS


async def steady(storm: Storm) -> None:
    """200 chats, 1,000 messages/s of 1 KiB, and each second a session with 16 KB of state."""

    async def chat(bot: Bot, mine: int) -> None:
        async for turn in paced(storm, 50):
            await bot.append(f"chat-{mine + 20 * (turn % 10)}", storm.recipes(KIB))

    async def states(bot: Bot) -> None:
        async for turn in paced(storm, 1):
            await bot.put(f"state-{turn}", *storm.recipes(16 * KIB))

    chats = (chat(Bot(storm.scene), mine) for mine in range(20))
    await together(states(Bot(storm.scene)), *chats)


async def burst(storm: Storm) -> None:
    """Bursts of 16 KiB messages at full speed, 1 to 64 a call: backlogs that are flushed."""
    bots = [Bot(storm.scene) for _ in range(CHATS)]

    async def flush(bot: Bot, mine: int, until: float) -> None:
        while time.monotonic() < until:
            sizes = [16 * KIB] * storm.dice.randint(1, 64)
            await bot.append(f"chat-{mine}", storm.recipes(*sizes))

    for _ in range(storm.bursts):
        await asyncio.sleep(storm.dice.uniform(0, PHASE_SECONDS))
        until = time.monotonic() + storm.dice.uniform(0, BURST_SECONDS)
        await together(*(flush(bot, mine, until) for mine, bot in enumerate(bots)))


async def many_chats(storm: Storm) -> None:
    """40,000 chats with a message of 1 KiB each, as fast as they are taken."""
    numbers = count()

    async def begin(bot: Bot) -> None:
        while (number := next(numbers)) < MANY_CHATS and not storm.scene.is_over():
            await bot.append(f"chat-{number}", storm.recipes(KIB))

    await together(*(begin(Bot(storm.scene)) for _ in range(CROWD)))


async def states(storm: Storm) -> None:
    """100 new sessions/s with 16 KB of state."""

    async def begin(bot: Bot, mine: int) -> None:
        async for turn in paced(storm, 10):
            await bot.put(f"login-{mine}-{turn}", *storm.recipes(16 * KIB))

    await together(*(begin(Bot(storm.scene), mine) for mine in range(10)))


async def restore(storm: Storm) -> None:
    """Many sessions with 16 KB of state; what follows is a restart and a read of all of them."""
    numbers = count()

    async def begin(bot: Bot) -> None:
        while (number := next(numbers)) < RESTORED and not storm.scene.is_over():
            await bot.put(f"login-{number}", *storm.recipes(16 * KIB))

    await together(*(begin(Bot(storm.scene)) for _ in range(CROWD)))


async def uploads(storm: Storm) -> None:
    """100 uploads of up to 4 MB at once, again and again; each is sent until it is taken."""
    bots = [Bot(storm.scene) for _ in range(UPLOADS)]
    for _ in range(storm.bursts):
        await asyncio.sleep(storm.dice.uniform(0, PHASE_SECONDS))
        sizes = [storm.dice.randint(7 * MB // 2, 4 * MB) for _ in bots]
        puts = zip(bots, storm.recipes(*sizes), strict=True)
        await together(*(bot.put(f"file-{mine}", it) for mine, (bot, it) in enumerate(puts)))


async def chunked(storm: Storm) -> None:
    """60 endless chunked bodies at once, begun anew when they are refused; and a quiet chat."""
    drips = (drip_bodies(storm.scene, f"drip-{mine}") for mine in range(DRIPS))
    await together(quiet(storm, 20), *drips)


async def slow_readers(storm: Storm) -> None:
    """150 clients that ask for 4 MB and take 40 KB/s of them; and a quiet chat."""
    bot = Bot(storm.scene)
    large = storm.recipes(*[4 * MB] * LARGE_VALUES)
    for mine, recipe in enumerate(large):
        await bot.put(f"file-{mine}", recipe)
    readers = (
        sip_answers(storm.scene, f"file-{mine % LARGE_VALUES}", large[mine % LARGE_VALUES])
        for mine in range(SIPS)
    )
    await together(quiet(storm, 20), *readers)


async def idle(storm: Storm) -> None:
    """A quiet bot: a few calls a minute, two a second here; nothing may be done about it."""
    await quiet(storm, 2)


async def quiet(storm: Storm, per_second: float) -> None:
    """Append small messages to one chat; they must be there at the end, too."""
    bot = Bot(storm.scene)
    async for _ in paced(storm, per_second):
        await bot.append("quiet", storm.recipes(KIB))


async def paced(storm: Storm, per_second: float) -> AsyncIterator[int]:
    """Count turns at a rate from a random phase until all is over; what is late is left out."""
    began = time.monotonic() + storm.dice.uniform(0, 1 / per_second)
    for turn in count():
        await asyncio.sleep(max(0.0, began + turn / per_second - time.monotonic()))
        if storm.scene.is_over():
            return
        yield turn


async def together(*works: Coroutine[None, None, None]) -> None:
    """Do all of it at once; the first that fails ends the others."""
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)


LOADS: dict[str, Load] = {
    "steady": Load(run=steady, seconds=30),
    "burst": Load(run=burst, seconds=60),
    "many-chats": Load(run=many_chats, seconds=60),
    "states": Load(run=states),
    "restore": Load(run=restore, seconds=60, restarts=True, readers=CROWD),
    "uploads": Load(run=uploads, seconds=120),
    "chunked": Load(run=chunked, is_endless=True),
    "slow-readers": Load(run=slow_readers),
    "idle": Load(run=idle, seconds=10),
}
