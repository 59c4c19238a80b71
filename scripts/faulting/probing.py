"""Who asks all the time: when a service takes writes again, seen from outside."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from scripts.benchmark.calls import request
from scripts.faulting.bots import Caller
from scripts.faulting.ledger import Fate
from scripts.faulting.scene import Scene, fate_of
from scripts.storming.wire import NoServer

INTERVAL_SECONDS = 0.025
MOST_SECONDS = 10.0


class Probe:
    """Writes to each service again and again, without waiting for the write before."""

    def __init__(self, scene: Scene, sessions: Sequence[str]) -> None:
        self._scene = scene
        self._taken: dict[tuple[int, str], list[float]] = {
            (port, session): [] for port in scene.ports for session in sessions
        }
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Go on until it is cancelled."""
        while True:
            for port, session in self._taken:
                call = asyncio.create_task(self._ask(port, session))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
            await asyncio.sleep(INTERVAL_SECONDS)

    async def healed(self, since: float) -> float | None:
        """Wait until each service has taken a write; the ms until the last did; None = never."""
        while time.monotonic() < since + MOST_SECONDS:
            firsts = [
                next((at for at in taken if at >= since), 0.0) for taken in self._taken.values()
            ]
            if all(firsts):
                return (max(firsts) - since) * 1e3
            await asyncio.sleep(INTERVAL_SECONDS / 10)
        return None

    async def end(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._calls)

    async def _ask(self, port: int, session: str) -> None:
        caller = Caller(self._scene)
        try:
            reply = await caller.call(port, request("PUT", f"/v1/sessions/{session}", b"{}"))
        except NoServer:
            return
        finally:
            caller.close()
        if reply is not None and fate_of(reply) is Fate.ACKNOWLEDGED:
            self._taken[port, session].append(time.monotonic())


@asynccontextmanager
async def probing(scene: Scene, sessions: Sequence[str]) -> AsyncIterator[Probe]:
    """Probe until the end of the block, with sessions that are nobody else's."""
    probe = Probe(scene, sessions)
    task = asyncio.create_task(probe.run())
    try:
        yield probe
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await probe.end()
