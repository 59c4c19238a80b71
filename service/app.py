"""The service as an app: its lifespan opens and closes the parts, and hands them to requests."""

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from starlette.applications import Starlette

from service import __version__
from service.access import DEFAULT_NAMESPACE, Principal, Scope
from service.clock import Clock, SystemClock
from service.http.auth import Keyring
from service.http.lifespan import LifespanState, Stopping
from service.http.routes import build_router
from service.http.verdict import HealthInputs
from service.memory.heap import HeapProbe
from service.memory.levers import freeze_heap
from service.memory.machine import read_host
from service.parts import Parts, build_parts
from service.settings import Settings
from service.store import Directory

DRAINED_AT_ONCE = 16
"""Bodies that are read only to be dropped: each has up to 256 KiB in memory that nobody counts."""

_log = logging.getLogger("ballast")


def create_app(
    settings: Settings, *, clock: Clock | None = None, stopping: Stopping | None = None
) -> Starlette:
    """Return the service as an ASGI app; nothing is opened before its lifespan begins."""
    clock, stopping = clock or SystemClock(), stopping or Stopping()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[LifespanState]:
        # Closed in the reverse order: first nothing is governed or watched, then Redis is left.
        async with AsyncExitStack() as stack:
            parts = build_parts(settings, clock)
            stack.callback(parts.memory.probe.close)
            stack.push_async_callback(parts.storage.link.aclose)
            stack.push_async_callback(parts.storage.backups.aclose)
            watching = parts.storage.watch.run(is_active=settings.enable_health_check)
            await stack.enter_async_context(_background(watching))
            await stack.enter_async_context(_background(parts.storage.sealer.run()))
            await stack.enter_async_context(_background(parts.storage.backups.run()))
            await stack.enter_async_context(_background(parts.redis_pressure.run()))
            await stack.enter_async_context(_background(parts.governor.run()))
            freeze_heap()
            yield _state(settings, clock, stopping, parts)

    return build_router(lifespan)


def _keyring(settings: Settings) -> Keyring:
    """All keys that are set; without any, whoever is on a loopback bind is admin of `default`."""
    anyone = Principal(DEFAULT_NAMESPACE, Scope.ADMIN) if settings.is_loopback else None
    return Keyring(settings.credentials, anonymous=anyone)


def _state(settings: Settings, clock: Clock, stopping: Stopping, parts: Parts) -> LifespanState:
    keyring, counters = _keyring(settings), Counter[str]()
    heap, started = HeapProbe(clock), clock.monotonic()

    def health_inputs() -> HealthInputs:
        return HealthInputs(
            now_ms=clock.unix_ms(),
            uptime_seconds=clock.monotonic() - started,
            version=__version__,
            release_id=settings.release_id,
            governor=parts.governor.status,
            heap=heap.read(),
            host=read_host(),
            store=parts.storage.watch.status,
            redis_pressure=parts.redis_pressure.status,
            hot=parts.storage.hot.status,
            accounts=parts.accounts.status,
            leak=parts.memory.leak.status,
            counters={
                **counters,
                "sealingFailures": parts.storage.sealer.failures,
                **parts.storage.backups.counters,
                **parts.redis_pressure.counters,
            },
            is_backup_away=parts.storage.backups.is_away,
            is_stopping=stopping.is_set,
            is_auth_missing=keyring.is_closed,
            is_health_check_enabled=settings.enable_health_check,
        )

    return LifespanState(
        sessions=parts.storage.sessions,
        backups=parts.storage.backups,
        leases=parts.storage.leases,
        directory=Directory(parts.storage.link),
        keyring=keyring,
        limits=parts.memory.plan.limits,
        running=set(),
        default_ttl_ms=settings.session_ttl_ms,
        default_max_messages=settings.max_messages,
        admission=parts.memory.admission,
        listeners=parts.memory.listeners,
        draining=asyncio.Semaphore(DRAINED_AT_ONCE),
        stopping=stopping,
        counters=counters,
        governor=parts.governor,
        store_status=lambda: parts.storage.watch.status,
        health_inputs=health_inputs,
    )


@asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run something as long as the service lives; if it ends by itself, so does the service."""
    task = asyncio.create_task(work)
    task.add_done_callback(_end_with)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _end_with(task: asyncio.Task[None]) -> None:
    """End the process: without this part it would go on answering 200, and lie."""
    if not task.cancelled():
        _log.critical("A part of the service has ended.", exc_info=task.exception())
        signal.raise_signal(signal.SIGTERM)
