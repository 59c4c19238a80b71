"""The use cases of leases: advisory locks on sessions' ids, and waiting for them.

Across processes a waiter polls Redis. Within this one those who wait for the same lease stand in a
line: only its first polls, and a release that passes here wakes it at once.

An acquire whose outcome is unknown (503) may hold a lease that nobody knows the token of: it runs
out by itself. So does that of a client who goes while Redis is being asked.
"""

import asyncio
import math
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from service.clock import Clock
from service.errors import OVERLOADED, Locked, Unavailable, wrong_lease
from service.model import Lease, SessionRef
from service.store import Held, LeaseStore

FIRST_PAUSE_SECONDS = 0.025
MOST_PAUSE_SECONDS = 0.2
"""Between two looks at a lease that somebody else holds; a little less at random."""

_TOKEN_BYTES = 16

CheckWanted = Callable[[], Awaitable[None]]
"""Raises what a waiter is to end with: its client has gone, or the process stops."""


class Leases:
    """Leases of all namespaces. Every method may raise Unavailable."""

    def __init__(self, store: LeaseStore, clock: Clock) -> None:
        """Nobody waits yet."""
        self._store = store
        self._clock = clock
        self._lines: dict[SessionRef, _Line] = {}

    async def acquire(
        self, ref: SessionRef, *, ttl_ms: int, wait_ms: int, check_wanted: CheckWanted
    ) -> Lease:
        """Take the lease, once it is free.

        Raises Locked if somebody else still has it after `wait_ms`, and StoreFull. `check_wanted`
        is asked before each look at the lease.
        """
        token, deadline = secrets.token_urlsafe(_TOKEN_BYTES), self._now() + wait_ms / 1000
        pause = FIRST_PAUSE_SECONDS
        async with self._turn(ref, deadline) as line:
            while True:
                await check_wanted()
                answer = await self._store.acquire(ref, token, ttl_ms)
                if isinstance(answer, Lease):
                    return answer
                left = deadline - self._now()
                if left <= 0:
                    raise _locked(answer)
                await line.pause(min(left, _jittered(pause), _seconds(answer)))
                pause = min(2 * pause, MOST_PAUSE_SECONDS)

    async def extend(self, ref: SessionRef, token: str, ttl_ms: int) -> Lease:
        """Let the lease end so long from now. Raises Conflict if the token does not have it."""
        return await self._store.extend(ref, token, ttl_ms)

    async def release(self, ref: SessionRef, token: str) -> None:
        """Give the lease back. Raises Conflict if the token does not have it."""
        await self._store.release(ref, token)
        line = self._lines.get(ref)
        if line is not None:
            line.released.set()

    async def check(self, ref: SessionRef, token: str) -> None:
        """Raise Locked unless the token has the lease now."""
        if not await self._store.check(ref, token):
            raise wrong_lease()

    @asynccontextmanager
    async def _turn(self, ref: SessionRef, deadline: float) -> AsyncIterator["_Line"]:
        with self._joined(ref) as line:
            async with line.turn(deadline - self._now()):
                yield line

    @contextmanager
    def _joined(self, ref: SessionRef) -> Iterator["_Line"]:
        """Stand in the line of a lease, which is there as long as somebody does."""
        line = self._lines.setdefault(ref, _Line())
        line.length += 1
        try:
            yield line
        finally:
            line.length -= 1
            # A line that has failed is left, and those who come now begin another.
            if self._lines.get(ref) is line and (line.length == 0 or line.failure):
                del self._lines[ref]

    def _now(self) -> float:
        return self._clock.monotonic()


class _Line:
    """Those in this process who want one lease, first come, first served."""

    def __init__(self) -> None:
        self.length = 0
        self.failure: Unavailable | None = None
        self.released = asyncio.Event()
        self._first = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, seconds: float) -> AsyncIterator[None]:
        """Wait to be the first; whose time is up before may look once, to tell what he sees."""
        is_first = await self._is_first_within(seconds)
        try:
            self._check()
            yield
        except Unavailable as failure:
            # Those behind would find the same, one after the other, each at the end of its call.
            if failure.code != OVERLOADED:
                self.failure = Unavailable(failure.detail, code=failure.code)
            raise
        finally:
            if is_first:
                self._first.release()

    async def pause(self, seconds: float) -> None:
        """Wait for a release that passes here, but not longer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.released.wait()
                self.released.clear()

    def _check(self) -> None:
        if self.failure is not None:
            raise Unavailable(self.failure.detail, code=self.failure.code)

    async def _is_first_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._first.acquire()
        except TimeoutError:
            return False


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.75, 1)  # noqa: S311 # spreads looks, hides nothing


def _seconds(held: Held) -> float:
    """Return how long the other's lease lasts; Redis's own millisecond is not over at 0."""
    return max(0, held.remaining_ms) / 1000 + 0.001


def _locked(held: Held) -> Locked:
    return Locked(
        "Somebody else holds the lease.",
        retry_after_seconds=max(1, math.ceil(held.remaining_ms / 1000)),
    )
