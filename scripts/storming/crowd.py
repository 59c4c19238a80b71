"""The clients of a storm, a process of their own: their memory and CPU are not the service's.

    python -m scripts.storming.crowd '{"port": 8000, "load": "steady", ...}'

It says how it goes as lines of JSON and is told by lines: `over` ends the storm, `read` lets it
read all back.
"""

import asyncio
import sys
import time
from itertools import count
from random import Random
from typing import Literal

import msgspec

from scripts.storming.bot import Scene, Tally
from scripts.storming.ledger import Verdict
from scripts.storming.loads import LOADS, Storm
from scripts.storming.reading import read_back

REPORT_SECONDS = 0.2
READ_SECONDS = 120.0


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What the clients shall do."""

    port: int
    load: str
    seconds: float
    bursts: int
    seed: int


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """How it goes, and in the end how it went: the sum of a tally and a verdict."""

    phase: Literal["storm", "over", "read"] = "storm"
    acknowledged: int = 0
    shed: int = 0
    bare: int = 0
    unseen: int = 0
    cut: int = 0
    codes: dict[str, int] = {}
    checked: int = 0
    lost: int = 0
    changed: int = 0
    unread: int = 0


def tell(phase: Literal["storm", "over", "read"], tally: Tally, verdict: Verdict) -> None:
    """Say how it goes to whoever has started us."""
    said = Account(
        phase=phase,
        acknowledged=tally.acknowledged,
        shed=tally.shed,
        bare=tally.bare,
        unseen=tally.unseen,
        cut=tally.cut,
        codes=dict(tally.codes),
        checked=verdict.checked,
        lost=verdict.lost,
        changed=verdict.changed + tally.garbled,
        unread=verdict.unread,
    )
    sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    sys.stdout.flush()


class Deadline:
    """When it is over: at a time, or when it is said."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def is_over(self) -> bool:
        """Whether it is."""
        return time.monotonic() >= self._at

    def end(self) -> None:
        """Let it be over now."""
        self._at = 0.0


async def read_words() -> asyncio.StreamReader:
    """Return the lines that we are told."""
    words = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    return words


async def report(tally: Tally) -> None:
    """Say how it goes, for ever."""
    while True:
        tell("storm", tally, Verdict())
        await asyncio.sleep(REPORT_SECONDS)


async def storm(task: Task) -> None:
    """Do what the load does, then wait to be told to read, and read."""
    load, deadline = LOADS[task.load], Deadline(task.seconds)
    scene = Scene(port=task.port, is_over=deadline.is_over)
    reporter = asyncio.create_task(report(scene.tally))
    ender = asyncio.create_task(_end_when_told(await read_words(), deadline))
    await load.run(
        Storm(
            bursts=task.bursts,
            dice=Random(task.seed),  # noqa: S311 # sizes and phases, no secret
            scene=scene,
            numbers=count(),
        )
    )
    tell("over", scene.tally, Verdict())
    await ender
    scene.is_over = Deadline(READ_SECONDS).is_over
    verdict = await read_back(scene, load.readers)
    reporter.cancel()
    tell("read", scene.tally, verdict)


async def _end_when_told(words: asyncio.StreamReader, deadline: Deadline) -> None:
    """Hear `over` as often as it comes; return at `read`."""
    while (await words.readline()).strip() == b"over":
        deadline.end()


if __name__ == "__main__":
    asyncio.run(storm(msgspec.json.decode(sys.argv[1], type=Task)))
