"""Clients that go away, or say a thing twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from itertools import count

from scripts.faulting.bots import STRIDE, Caller, append_call
from scripts.faulting.fault import Fault
from scripts.faulting.ledger import Fate
from scripts.faulting.scene import Scene
from scripts.faulting.stage import Stage
from tests.servers import HOST

SESSION = "of-clients-that-go"
CALLS = 100
FIRST = 1_000 * STRIDE
"""Their messages have numbers that no bot uses."""


async def send_and_go(scene: Scene, number: int, *, share: float, fate: Fate) -> None:
    """Send a part of a request, wait a moment, and hang up."""
    call = append_call(SESSION, number)
    scene.ledger.note_message(SESSION, number, fate)
    _, writer = await asyncio.open_connection(HOST, scene.random.choice(scene.ports))
    writer.write(call[: int(len(call) * share)])
    await writer.drain()
    await asyncio.sleep(scene.random.random() / 200)
    writer.transport.abort()


async def send_all_and_go(scene: Scene, *, share: float, fate: Fate) -> None:
    """Let many clients do so at once."""
    calls = (send_and_go(scene, FIRST + n, share=share, fate=fate) for n in range(CALLS))
    await asyncio.gather(*calls)


@asynccontextmanager
async def hung_up_in_between(stage: Stage) -> AsyncIterator[None]:
    """Nine tenths of a request come: nothing may be done."""
    await send_all_and_go(stage.scene, share=0.9, fate=Fate.REFUSED)
    yield


@asynccontextmanager
async def gone_after_sending(stage: Stage) -> AsyncIterator[None]:
    """The whole request comes, and nobody waits for the answer: it is done once, or not at all."""
    await send_all_and_go(stage.scene, share=1.0, fate=Fate.UNKNOWN)
    yield


@asynccontextmanager
async def said_twice(stage: Stage) -> AsyncIterator[None]:
    """Each keyed append is sent twice at once, and once more: it is done once."""
    scene, replayed = stage.scene, 0
    for number in range(FIRST, FIRST + CALLS):
        callers = [Caller(scene) for _ in range(2)]
        call = append_call(SESSION, number, key=f"twice-{number}")
        ports = [scene.random.choice(scene.ports) for _ in callers]
        pairs = zip(callers, ports, strict=True)
        replies = await asyncio.gather(*(caller.call(port, call) for caller, port in pairs))
        again = await callers[0].call(ports[0], call)
        replayed += again is not None and b"idempotency-replayed" in again.headers
        statuses = {reply.status for reply in (*replies, again) if reply}
        scene.expect(
            holds=statuses <= {HTTPStatus.CREATED, HTTPStatus.CONFLICT},
            otherwise=f"a repetition was answered {sorted(statuses)}",
        )
        scene.ledger.note_message(SESSION, number, Fate.ACKNOWLEDGED)
        for caller in callers:
            caller.close()
    scene.expect(holds=replayed == CALLS, otherwise=f"only {replayed} repetitions were recognised")
    yield


@asynccontextmanager
async def key_used_again(stage: Stage) -> AsyncIterator[None]:
    """The key of one append comes with another body: 422, and nothing is done."""
    scene, caller, numbers = stage.scene, Caller(stage.scene), count(FIRST)
    for _ in range(CALLS):
        first, second = next(numbers), next(numbers)
        for number, status, fate in (
            (first, HTTPStatus.CREATED, Fate.ACKNOWLEDGED),
            (second, HTTPStatus.UNPROCESSABLE_ENTITY, Fate.REFUSED),
        ):
            call = append_call(SESSION, number, key=f"shared-{first}")
            reply = await caller.call(scene.random.choice(scene.ports), call)
            scene.expect(
                holds=reply is not None and reply.status == status,
                otherwise=f"{status} was to be the answer, not {reply and reply.status}",
            )
            scene.ledger.note_message(SESSION, number, fate)
    caller.close()
    yield


FAULTS = (
    Fault(
        name="client-cancels",
        title="client cancels in the middle of a call",
        act=hung_up_in_between,
        processes=(2,),
    ),
    Fault(
        name="client-gone",
        title="client gone after sending",
        act=gone_after_sending,
        processes=(2,),
    ),
    Fault(
        name="repeated",
        title="duplicate request (Idempotency-Key)",
        act=said_twice,
        processes=(2,),
        shows="409 idempotency_in_progress",
    ),
    Fault(
        name="key-reused",
        title="same key with another body",
        act=key_used_again,
        processes=(2,),
        shows="422 idempotency_key_reused",
    ),
)
