"""Processes as far as a replay needs them: a store, its log, and who plays it again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from service.clock import SystemClock
from service.errors import ServiceError
from service.model import Limits
from service.store import Link, Recovery, RedisStore, RedisTarget, ReplayLog
from tests.store_calls import DEFAULTS, Chat, ref_of

MIB = 1_048_576

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Process:
    """One of those that write to a Redis."""

    link: Link
    store: RedisStore
    log: ReplayLog
    recovery: Recovery
    forgotten: list[bool]

    def chat(self, name: str = "chat") -> Chat:
        return Chat(self.store, ref_of(name))

    @property
    def counters(self) -> dict[str, int]:
        return self.recovery.counters


@asynccontextmanager
async def process_of(url: str, budget_bytes: int = 4 * MIB) -> AsyncIterator[Process]:
    """Run a process until the end of the block; it has come to Redis when the block begins."""
    forgotten: list[bool] = []

    async def forget() -> None:
        forgotten.append(True)

    target, log = RedisTarget(url=url), ReplayLog(budget_bytes)
    recovery = Recovery(target, log, SystemClock(), forget)
    link = Link(target, recovery.hear, recovery.guard)
    store = RedisStore(link, Limits(), DEFAULTS, log=log)
    await link.command("PING")
    running = asyncio.create_task(recovery.run(link))
    try:
        yield Process(link, store, log, recovery, forgotten)
    finally:
        running.cancel()
        await asyncio.wait({running})
        await recovery.aclose(link)
        await link.aclose()


async def patiently(call: Callable[[], Awaitable[T]], seconds: float = 10) -> T:
    """Try until Redis is there again, as clients do."""
    async with asyncio.timeout(seconds):
        while True:
            with suppress(ServiceError):
                return await call()
            await asyncio.sleep(0.01)
