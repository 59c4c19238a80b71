"""The use cases over a real Redis, with a clock and replies that a test may hold back."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from service.chunks import Sealing, Unsealed
from service.clock import SystemClock
from service.hot import HotTier
from service.model import Conditions, Limits, Reading, SessionRef, View
from service.sealing import Sealer
from service.sessions import Sessions
from service.store import Link, RedisStore, RedisTarget
from service.store.link import Argument
from service.store.replies import Answer
from tests.servers import Server
from tests.store_calls import DEFAULTS, Chat, ref_of

REF = ref_of("chat")
LIMITS = Limits(max_value_bytes=100_000)  # memory holds even the largest value


class HeldStore(RedisStore):
    """The real store; it counts calls, and a reply stays on its way for as long as a test likes."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, Limits(), DEFAULTS)
        self.calls = Counter[str]()
        self.is_holding = False
        self.held: list[asyncio.Event] = []

    async def read(self, ref: SessionRef, reading: Reading, known: str = "") -> View | None:
        view = await super().read(ref, reading, known)
        await self._came("read")
        return view

    async def unsealed(self, ref: SessionRef, seq: int) -> Unsealed | None:
        part = await super().unsealed(ref, seq)
        await self._came("unsealed")
        return part

    async def seal(self, ref: SessionRef, gen: str, sealing: Sealing) -> bool:
        is_taken = await super().seal(ref, gen, sealing)
        await self._came("seal")
        return is_taken

    async def _run(
        self,
        name: str,
        ref: SessionRef,
        args: Sequence[Argument],
        conditions: Conditions,
        *others: bytes,
    ) -> Answer:
        answer = await super()._run(name, ref, args, conditions, *others)
        await self._came(name)
        return answer

    async def _came(self, name: str) -> None:
        self.calls[name] += 1
        if self.is_holding:
            self.held.append(event := asyncio.Event())
            await event.wait()

    async def reach(self, count: int) -> None:
        """Wait until so many replies are held."""
        async with asyncio.timeout(5):
            while len(self.held) < count:  # noqa: ASYNC110 # a turn of the loop, no time
                await asyncio.sleep(0)

    def release(self) -> None:
        """Let every reply go, and hold none."""
        self.is_holding = False
        for event in self.held:
            event.set()
        self.held.clear()


class StepClock(SystemClock):
    """The machine's clock, that a test may put ahead."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_seconds


@dataclass(frozen=True, slots=True)
class Parts:
    """The use cases and what they are made of."""

    sessions: Sessions
    store: HeldStore
    hot: HotTier
    clock: StepClock
    other: Sessions

    @property
    def chat(self) -> Chat:
        return Chat(self.sessions, REF)

    @property
    def elsewhere(self) -> Chat:
        """The same session through another process."""
        return Chat(self.other, REF)


def build(url: str) -> tuple[Parts, Link]:
    link, hot, clock = Link(RedisTarget(url=url)), HotTier(1_000_000), StepClock()
    store = HeldStore(link)
    sessions, other = (
        Sessions(store, tier, Sealer(store, tier, clock), clock, LIMITS)
        for tier in (hot, HotTier(1_000_000))
    )
    return Parts(sessions, store, hot, clock, other), link


def shut_out(server: Server) -> None:
    """Let a server refuse everyone from now on, at once: an outage that takes no time."""
    with Redis.from_url(server.url) as client:
        client.config_set("requirepass", "changed")
        client.client_kill_filter(_type="normal", skipme=True)


def start(call: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
    return asyncio.create_task(call)
