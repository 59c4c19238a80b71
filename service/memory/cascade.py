"""The layers that look after memory: each turn is taken by the first one that works."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Protocol

from service.clock import Clock
from service.memory.cleanup import LOG
from service.memory.levers import Relief
from service.vitals import MemoryFault

TURN_SECONDS = 15.0
"""A turn that takes longer has failed. Each lever has less."""

FIRST_REST_SECONDS, MOST_REST_SECONDS = 5.0, 60.0
TRUST_SECONDS = 60.0
"""Who has worked for so long is let rest only briefly when it fails again."""


class Manager(StrEnum):
    """Which layer looks after memory."""

    ADVANCED = "advanced"
    BASIC = "basic"
    DIRECT = "direct"
    HEALTH = "health"


class Layer(Protocol):
    """One way to keep memory below the quota; raises if it does not work."""

    @property
    def name(self) -> Manager:
        """The word for it in /health."""
        ...

    async def turn(self, *, may_act: bool) -> None:
        """Sample and decide; act on it if that is allowed now."""
        ...

    async def act(self, relief: Relief) -> None:
        """Free memory now."""
        ...


Task = Callable[[Layer], Awaitable[None]]


class InjectedFault(Exception):
    """A test wants this layer to fail."""


class Post:
    """A layer and how it does: one that raises rests for 5 s, then for 10, up to 60.

    It is told in the log when it begins to fail and when it works again, not at each trial.
    """

    def __init__(self, layer: Layer, clock: Clock, faults: frozenset[MemoryFault]) -> None:
        self._layer = layer
        self._clock = clock
        self._is_faulty = MemoryFault(layer.name) in faults
        self._rest_seconds = FIRST_REST_SECONDS
        self._changed_at = self._due_at = 0.0
        self.is_failing = False
        self.failures = self.demotions = 0

    @property
    def name(self) -> Manager:
        """The layer's own."""
        return self._layer.name

    def is_due(self) -> bool:
        """It works, or has rested."""
        return not self.is_failing or self._clock.monotonic() >= self._due_at

    async def give(self, task: Task) -> bool:
        """Let the layer do something; return whether it worked."""
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._do(task)
        except Exception as error:  # noqa: BLE001 # memory must be watched whatever happens
            self._demote(error)
            return False
        self._promote()
        return True

    async def _do(self, task: Task) -> None:
        if self._is_faulty:
            raise InjectedFault(self.name)
        await task(self._layer)

    def _demote(self, error: Exception) -> None:
        now = self._clock.monotonic()
        self.failures += 1
        if not self.is_failing:
            self._begin_to_fail(now, error)
        self._due_at = now + self._rest_seconds
        self._rest_seconds = min(self._rest_seconds * 2, MOST_REST_SECONDS)

    def _begin_to_fail(self, now: float, error: Exception) -> None:
        if now - self._changed_at >= TRUST_SECONDS:
            self._rest_seconds = FIRST_REST_SECONDS
        self.is_failing, self._changed_at = True, now
        self.demotions += 1
        LOG.error("Memory layer %s failed and is tried again later", self.name, exc_info=error)

    def _promote(self) -> None:
        if self.is_failing:
            self.is_failing, self._changed_at = False, self._clock.monotonic()
            LOG.warning("Memory layer %s works again", self.name)


class Cascade:
    """Layers in the order in which they are tried."""

    def __init__(self, posts: Sequence[Post]) -> None:
        self._posts = tuple(posts)
        self.current: Manager | None = self._posts[0].name

    @property
    def passed_over(self) -> tuple[Manager, ...]:
        """Those above the current one: they have failed. Nobody has tried those below it lately."""
        names = [post.name for post in self._posts]
        return tuple(names[: names.index(self.current)] if self.current else names)

    async def give(self, task: Task) -> bool:
        """Let the first layer that works do something; return whether there was one."""
        for post in self._posts:
            if post.is_due() and await post.give(task):
                self.current = post.name
                return True
        self.current = None
        return False
