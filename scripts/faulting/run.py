"""One row from its beginning to its result."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random, randrange

from scripts.faulting.bots import Bot, Caller
from scripts.faulting.fault import Fault
from scripts.faulting.ledger import Verdict
from scripts.faulting.probing import probing
from scripts.faulting.reading import read_back, read_messages
from scripts.faulting.scene import Scene
from scripts.faulting.stage import PROBED, Stage, stage_of

BOTS = 9
SESSIONS = 6
BEFORE_SECONDS = (0.5, 1.0)
AFTER_SECONDS = 0.4
ANSWER_MS = 1_500.0
SLACK_MS = 250.0
"""What two cores that clients, Redis and services share may add."""

HEAL_MS = 1_000.0
NO_REPLAY = {"REPLAY_MAX_MB": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What shall be rehearsed; a control has to lose."""

    fault: Fault
    processes: int
    is_control: bool = False

    @property
    def name(self) -> str:
        """Say it in a few words."""
        return f"{self.fault.name}, {self.processes} services{', control' * self.is_control}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What has happened.

    `heal_ms`: None = it never healed. `erased`: what was missed of a session that was taken away.
    """

    order: Order
    answers: Counter[str]
    worst_ms: float
    acknowledged: int
    verdict: Verdict
    untrue: int
    heal_ms: float | None
    erased: int
    may_lose: int | None
    remarks: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Name the promises that were broken; of a control, that nothing was lost."""
        if self.order.is_control:
            return [] if self.verdict.lost else ["it loses nothing without replay, too"]
        most_ms = ANSWER_MS + self.order.fault.added_ms + SLACK_MS
        rules = (
            (self.worst_ms > most_ms, f"an answer took {self.worst_ms:.0f} ms"),
            (self.heal_ms is None, "it did not heal"),
            ((self.heal_ms or 0) > HEAL_MS + self.order.fault.waits_ms, "it healed late"),
            (self.erased == 0, "a session that was taken away is not missed"),
        )
        return [words for is_broken, words in rules if is_broken] + self.broken + self.losses

    @property
    def losses(self) -> list[str]:
        """Name what was lost or invented beyond what nobody promises to keep."""
        if self.may_lose is None:
            return []
        lost, invented = self.verdict
        rules = (
            (lost > self.may_lose, f"{lost} lost"),
            (invented > 0, f"{invented} invented"),
            # Of what may be lost a read may say so.
            (self.untrue > 0 and not self.may_lose, f"{self.untrue} reads were not true"),
        )
        return [words for is_broken, words in rules if is_broken]


async def rehearse(order: Order) -> Result:
    """Let clients write, make the fault, lift it, and read all back."""
    fault = order.fault
    if order.is_control:
        fault = replace(fault, environ={**fault.environ, **NO_REPLAY})
    random = Random(randrange(1_000_000))  # noqa: S311 # of moments
    async with stage_of(fault, order.processes, random) as stage:
        scene = stage.scene
        async with asyncio.TaskGroup() as group:
            for bot in _bots(fault, scene):
                group.create_task(bot.work())
            await asyncio.sleep(random.uniform(*BEFORE_SECONDS))
            heal_ms = await _suffer(stage, fault)
            await asyncio.sleep(AFTER_SECONDS)
            scene.end()
        verdict = await read_back(scene)
        return Result(
            order=order,
            answers=scene.answers.seen,
            worst_ms=scene.answers.worst_ms,
            acknowledged=scene.ledger.acknowledged,
            verdict=verdict,
            untrue=scene.untrue,
            heal_ms=heal_ms,
            erased=await _missed(stage),
            may_lose=scene.may_lose,
            remarks=scene.remarks,
            broken=scene.broken,
        )


def _bots(fault: Fault, scene: Scene) -> Iterator[Bot]:
    ports = scene.ports[: fault.writers]
    for number in range(BOTS):
        if fault.at_home:
            yield Bot(scene, number, f"of-{number}", [ports[number % len(ports)]])
        else:
            yield Bot(scene, number, f"chat-{number % SESSIONS}", ports)


async def _suffer(stage: Stage, fault: Fault) -> float | None:
    """Hold the fault for its time; return the ms that healing took."""
    scene = stage.scene
    async with probing(scene, [PROBED]) as probe:
        scene.answers.begin()
        async with fault.act(stage):
            await asyncio.sleep(fault.seconds * scene.random.uniform(0.8, 1.2))
        heal_ms = await probe.healed(time.monotonic())
    scene.answers.is_watched = False
    scene.expect(
        holds=not fault.shows or scene.answers.have_shown(fault.shows),
        otherwise=f"no answer said {fault.shows!r}: was it the fault?",
    )
    return heal_ms


async def _missed(stage: Stage) -> int:
    """Take a session away, and count what is missed: a count that finds nothing proves nothing."""
    ledger, caller = stage.scene.ledger, Caller(stage.scene)
    session = max(ledger.messages, key=lambda name: len(ledger.messages[name]))
    await asyncio.to_thread(stage.erase, session)
    found = await read_messages(caller, stage.scene.ports[0], session)
    caller.close()
    return ledger.check_messages(session, found).lost
