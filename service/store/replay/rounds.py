"""How the processes wait for each other while they give a Redis back what it has lost.

Nobody may be served while others still have writes to give back: what they wrote would seem to be
absent, and what is written now would stand in their way.
"""

import asyncio
from contextlib import suppress
from enum import IntEnum

from service.errors import ServiceError
from service.store.keys import round_key
from service.store.link import Link
from service.store.replay.identity import Peers

ARRIVAL_SECONDS = 2.0
"""From the begin of a round; who has not come by then is waited for no longer."""

MOST_SECONDS = 30.0
LOOK_SECONDS = 0.5
PAUSE_SECONDS = 0.01
KEPT_MS = 60_000


class Phase(IntEnum):
    """How far a process is."""

    ARRIVED = 1
    STAGED = 2
    PLAYED = 3
    SETTLED = 4
    DONE = 5


class Round:
    """One time that a Redis has lost its memory, for all who find it so."""

    def __init__(self, link: Link, peers: Peers, name: str) -> None:
        """Be told and waited for through `link`; `name` is the same for all."""
        self._link = link
        self._peers = peers
        self._key = round_key(name)
        self._began = self._looked_at = asyncio.get_running_loop().time()
        self.missing: frozenset[str] = frozenset()
        """Who writes to this Redis, as far as was known, and has not come."""

    async def tell(self, phase: Phase) -> None:
        """Say how far this process is; where nothing can be written nobody can wait either."""
        with suppress(ServiceError):
            await self._link.command("HSET", self._key, self._peers.id, int(phase), aim=self._key)
            await self._link.command("PEXPIRE", self._key, KEPT_MS, aim=self._key)

    async def reach(self, phase: Phase) -> None:
        """Say so, and wait until all others are that far, too. Raises ServiceError."""
        await self.tell(phase)
        while others := self._peers.others - self.missing:
            phases = await self._phases()
            late = {each for each in others if phases.get(each, 0) < phase}
            if not late:
                return
            seconds = asyncio.get_running_loop().time() - self._began
            if seconds >= ARRIVAL_SECONDS:
                self.missing |= late - phases.keys()
            if seconds >= MOST_SECONDS:
                self.missing |= late
            await self._look_for(late & phases.keys())
            await asyncio.sleep(PAUSE_SECONDS)

    async def _look_for(self, late: frozenset[str] | set[str]) -> None:
        """Wait no longer for those who have come, and have ended since: they are not enrolled."""
        now = asyncio.get_running_loop().time()
        if late and now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            await self._peers.enrol(self._link)
            self.missing |= late - self._peers.enrolled

    async def _phases(self) -> dict[str, int]:
        reply = await self._link.command("HGETALL", self._key, aim=self._key)
        flat = [each.decode() for each in reply] if isinstance(reply, list) else []
        return {name: int(phase) for name, phase in zip(flat[::2], flat[1::2], strict=True)}
