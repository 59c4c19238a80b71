"""Reading all back, through every service, past its memory and out of it."""

import asyncio
import time

import msgspec

from scripts.faulting.bots import Caller, value_of
from scripts.faulting.ledger import Verdict
from scripts.faulting.scene import Scene
from scripts.storming.bot import NO_CACHE
from scripts.storming.wire import Reply

PATIENCE_SECONDS = 5.0
PAUSE_SECONDS = 0.05


class NotRead(Exception):
    """The service did not say what there is."""


class Numbered(msgspec.Struct):
    """A message of ours."""

    n: int


class Stored(msgspec.Struct):
    """One message as the service gives it back."""

    message: Numbered


class Page(msgspec.Struct):
    """A page of messages; `next` is the seq to go on after."""

    messages: list[Stored]
    next: int | None


async def read_back(scene: Scene) -> Verdict:
    """Compare all that was written; the worst that any service says. Raises NotRead."""
    caller = Caller(scene)
    try:
        verdicts = [
            await _read_from(caller, port, headers)
            for port in scene.ports
            for headers in (NO_CACHE, "")
        ]
    finally:
        caller.close()
    return Verdict(*map(max, zip(*verdicts, strict=True)))


async def _read_from(caller: Caller, port: int, headers: str) -> Verdict:
    ledger, total = caller.scene.ledger, Verdict()
    for session in ledger.messages:
        found = await read_messages(caller, port, session, headers)
        total = total.plus(ledger.check_messages(session, found))
    for path in ledger.registers:
        reply = await read(caller, port, path, headers)
        total = total.plus(ledger.check_value(path, value_of(reply)))
    return total


async def read_messages(
    caller: Caller, port: int, session: str, headers: str = NO_CACHE
) -> list[int]:
    """Return the numbers of all messages of a session. Raises NotRead."""
    numbers: list[int] = []
    after: int | None = 0
    while after is not None:
        path = f"/v1/sessions/{session}/messages?after={after}&limit=1000"
        page = msgspec.json.decode((await read(caller, port, path, headers)).body, type=Page)
        numbers += [stored.message.n for stored in page.messages]
        after = page.next
    return numbers


async def read(caller: Caller, port: int, path: str, headers: str = NO_CACHE) -> Reply:
    """Read until Redis has said what there is. Raises NotRead."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        reply = await caller.read(port, path, headers)
        if reply is not None:
            return reply
        await asyncio.sleep(PAUSE_SECONDS)
    raise NotRead(f"for {PATIENCE_SECONDS} s nothing was said of {path}")
