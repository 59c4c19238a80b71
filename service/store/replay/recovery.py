"""Gives a Redis that has lost its memory what this process knows, before anybody is served."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from redis.asyncio.connection import AbstractConnection

from service.clock import Clock
from service.errors import ServiceError
from service.store.failures import Replaying
from service.store.keys import NEWS
from service.store.link import Link
from service.store.replay.identity import Identity, Peers
from service.store.replay.log import ReplayLog
from service.store.replay.player import Player
from service.store.replay.rounds import Phase, Round
from service.store.target import RedisTarget
from service.store.topology import Topology, closing
from service.vitals import Recovered, ReplayStatus

ENROL_SECONDS, RETRY_SECONDS = 2.0, 0.1
"""Between two looks at a Redis that answers, and at one that does not: others wait for this one."""

SEEN_SECONDS = 0.5

WAIT_SECONDS = 1.0
"""How long a new connection waits for a replay; then its calls are told that there is one."""

Place = tuple[str, int] | None
"""A node of a cluster; None = the one server of no cluster."""

_log = logging.getLogger("ballast.replay")


class Guarded:
    """A topology whose connections are open when Redis has got back what it had lost."""

    def __init__(self, inner: Topology, recovery: "Recovery", place: Place) -> None:
        """Be like `inner` for the rest."""
        self._inner = inner
        self._recovery = recovery
        self._place = place
        self.is_tls_verified = inner.is_tls_verified
        self.may_move = inner.may_move

    async def open(self) -> AbstractConnection:
        """See Topology. Raises Replaying as well."""
        while True:
            connection = await self._inner.open()
            identity = await self._recovery.identify(connection, self._place)
            if self._recovery.may_use(self._place, identity):
                return connection
            await connection.disconnect(nowait=True)
            await self._recovery.trust(self._place, identity)


class Recovery:
    """Knows which Redis it was last, and plays the log again to one that is another."""

    def __init__(
        self,
        target: RedisTarget,
        log: ReplayLog,
        clock: Clock,
        forget: Callable[[], Awaitable[None]],
    ) -> None:
        """Play `log` to `target`; `forget` drops what memory holds if Redis had lost anything."""
        self._target = target
        self._log = log
        self._clock = clock
        self._forget = forget
        self._peers = Peers()
        self._trusted: dict[Place, Identity] = {}
        self._waiting: dict[Place, Identity] = {}
        self._running: asyncio.Task[None] | None = None
        self._suspected = asyncio.Event()
        self._epoch = ""
        self._link: Link | None = None
        self._last: Recovered | None = None
        self._rounds = self._replayed = self._lost = self._missing = self._failures = 0

    @property
    def status(self) -> ReplayStatus:
        """What /health tells."""
        return ReplayStatus(
            log=self._log.status,
            processes=len(self._peers.others) + 1,
            is_running=self._running is not None,
            lost_writes=self._lost,
            missing_processes=self._missing,
            last=self._last,
        )

    @property
    def counters(self) -> dict[str, int]:
        """What was done since the start; `replayLost` are acknowledged writes of this process."""
        return {
            "replays": self._rounds,
            "replayedWrites": self._replayed,
            "replayLostWrites": self._lost,
            "replayMissingProcesses": self._missing,
            "replayFailures": self._failures,
        }

    def guard(self, topology: Topology, place: Place) -> Topology:
        """Return a topology that opens nothing before Redis is whole."""
        return Guarded(topology, self, place) if self._log.budget_bytes else topology

    async def identify(self, connection: AbstractConnection, place: Place) -> Identity:
        """Find out which server a connection leads to; without an answer it is closed."""
        async with closing(connection):
            return await self._peers.identify(connection, is_node=place is not None)

    def may_use(self, place: Place, identity: Identity) -> bool:
        """Whether a server is the one that it was; the first of all is."""
        if place not in self._trusted and not self._log.held_bytes:
            self._trusted[place] = identity
        return self._trusted.get(place) == identity

    async def trust(self, place: Place, identity: Identity) -> None:
        """Give a server back what it has lost. Raises Replaying if that takes long, or fails."""
        self._waiting[place] = identity
        if self._running is None:
            self._running = asyncio.create_task(self._recover(identity))
            self._running.add_done_callback(self._ended)
        await asyncio.wait({running := self._running}, timeout=WAIT_SECONDS)
        if not running.done() or running.cancelled() or running.exception():
            raise Replaying

    def hear(self, names: Sequence[bytes] | None) -> None:
        """Look soon who is there if all keys may have changed, or somebody has come."""
        if names is None or NEWS in names:
            self._suspected.set()

    async def run(self, link: Link) -> None:
        """Be seen by others, and see an emptied Redis though its connections hold; for ever."""
        self._link = link
        while self._log.budget_bytes:
            self._suspected.clear()
            await self._look(link)
            with suppress(TimeoutError):
                async with asyncio.timeout(ENROL_SECONDS if link.is_answering else RETRY_SECONDS):
                    await self._suspected.wait()
        await asyncio.Event().wait()

    async def aclose(self, link: Link) -> None:
        """Let nobody wait for this process."""
        if (running := self._running) is not None:
            running.cancel()
            await asyncio.wait({running})
            link = Link(self._target)  # the other waits for what has just been given up
            await self._peers.leave(link)
            await link.aclose()
        elif link.is_answering and self._log.budget_bytes:
            await self._peers.leave(link)

    async def _look(self, link: Link) -> None:
        try:
            if link.is_cluster:
                await link.everywhere("PING")  # a node that nobody asks is not seen to be another
            epoch = await self._peers.enrol(link, self._epoch)
        except ServiceError:
            return  # the next connection tells which Redis it leads to
        if self._epoch not in {"", epoch}:
            self._trusted = dict.fromkeys(self._trusted, Identity("", ""))
            await link.drop_open()
        elif self._running is None:
            self._epoch = epoch

    async def _recover(self, identity: Identity) -> None:
        waiting = dict(self._waiting)
        if self._link is not None:
            await self._link.drop_open()  # an emptied server keeps its connections
        link = Link(self._target)
        try:
            epoch = await self._peers.enrol(link)
            async with self._seen(link):
                await self._play(link, Round(link, self._peers, f"{identity.run_id}:{epoch}"))
            self._epoch = epoch
        except ServiceError:
            raise  # Redis has gone again: all is begun anew with the next connection
        except Exception:  # noqa: BLE001 # counted, and shown by /health: better to serve than never to
            self._failures += 1
            _log.exception("The writes of this process could not be played again.")
        finally:
            await link.aclose()
        self._trusted |= waiting

    @asynccontextmanager
    async def _seen(self, link: Link) -> AsyncIterator[None]:
        """Stay enrolled while the log is played, and see who does not."""

        async def enrol() -> None:
            while True:
                await asyncio.sleep(SEEN_SECONDS)
                with suppress(ServiceError):
                    await self._peers.enrol(link)

        enrolling = asyncio.create_task(enrol())
        try:
            yield
        finally:
            enrolling.cancel()
            await asyncio.wait({enrolling})

    async def _play(self, link: Link, turn: Round) -> None:
        """Play alone what can be, then together what needs the writes of others."""
        began = self._clock.monotonic()
        is_lone = not self._peers.others
        player = Player(link, self._log, self._peers.id, is_lone=is_lone)
        await turn.tell(Phase.ARRIVED)
        await player.look()
        await player.play_alone()
        await player.stage()
        await turn.reach(Phase.STAGED)
        await player.play_together()
        await turn.reach(Phase.PLAYED)
        await player.settle()
        if player.sessions or turn.missing:
            # What others wrote may be lost, and its revisions be given to other contents.
            await self._forget()
        await turn.reach(Phase.SETTLED)
        await player.end_what_is_over()
        await turn.reach(Phase.DONE)
        await player.clear()
        self._note(player, len(turn.missing), (self._clock.monotonic() - began) * 1_000)

    def _note(self, player: Player, missing: int, ms: float) -> None:
        """Count, and say in the log what a person has to know."""
        self._rounds += 1
        self._replayed += player.replayed
        self._lost += player.lost
        self._missing += missing
        self._last = Recovered(
            at_ms=self._clock.unix_ms(),
            ms=ms,
            sessions=player.sessions,
            replayed=player.replayed,
            lost=player.lost,
            missing_processes=missing,
        )
        if player.sessions:
            words = "Redis had lost writes of %d sessions: %d were played again in %.0f ms."
            _log.warning(words, player.sessions, player.replayed, ms)
        if player.lost:
            words = (
                "%d acknowledged writes of this process are lost: what they followed is not there."
            )
            _log.error(words, player.lost)
        if missing:
            words = "%d processes did not come back with Redis: what only they knew of it is lost."
            _log.error(words, missing)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running = None
        if not task.cancelled():
            task.exception()  # seen, even if nobody waits any more
