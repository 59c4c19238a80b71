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
from service.journal import Journal
from service.memory.heap import HeapProbe
from service.memory.levers import freeze_heap
from service.memory.machine import read_host
from service.parts import Parts, build_parts
from service.settings import Settings
from service.settling import Listings
from service.store import Directory
from service.vitals import Counters

DRAINED_AT_ONCE = 16
"""Bodies that are read only to be dropped: each has up to 256 KiB in memory that nobody counts."""

JOURNAL_SECONDS, LAST_JOURNAL_SECONDS = 15.0, 1.0
"""After the signal to end: so long is tried to write what waits; and at least, however long the
last requests took."""

_log = logging.getLogger("ballast")


def create_app(
    settings: Settings, *, clock: Clock | None = None, stopping: Stopping | None = None
) -> Starlette:
    """Return the service as an ASGI app; nothing is opened before its lifespan begins."""
    clock, stopping = clock or SystemClock(), stopping or Stopping()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[LifespanState]:
        # Closed in the reverse order: first nothing is governed or watched, then the journal is
        # emptied, then Redis is left.
        async with AsyncExitStack() as stack:
            parts = build_parts(settings, clock)
            stack.callback(parts.memory.probe.close)
            stack.push_async_callback(parts.storage.link.aclose)
            stack.push_async_callback(parts.storage.recovery.aclose, parts.storage.link)
            recovering = parts.storage.recovery.run(parts.storage.link)
            await stack.enter_async_context(_background(recovering))
            journal = parts.storage.sessions.journal
            await stack.enter_async_context(_written_behind(journal, clock, stopping))
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


def _counters(parts: Parts) -> Counters:
    """What the parts count, but for the governor."""
    storage = parts.storage
    return {
        "sealingFailures": storage.sealer.failures,
        **storage.sessions.journal.counters,
        **storage.backups.counters,
        **parts.redis_pressure.counters,
        **storage.recovery.counters,
    }


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
            replay=parts.storage.recovery.status,
            journal_bytes=parts.storage.sessions.journal.held_bytes,
            accounts=parts.accounts.status,
            leak=parts.memory.leak.status,
            counters={**counters, **_counters(parts)},
            is_backup_away=parts.storage.backups.is_away,
            is_stopping=stopping.is_set,
            is_auth_missing=keyring.is_closed,
            is_health_check_enabled=settings.enable_health_check,
        )

    return LifespanState(
        sessions=parts.storage.sessions,
        backups=parts.storage.backups,
        leases=parts.storage.leases,
        directory=Listings(Directory(parts.storage.link), parts.storage.sessions.journal),
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
async def _written_behind(
    journal: Journal, clock: Clock, stopping: Stopping
) -> AsyncIterator[None]:
    """Write what waits as long as the service lives, and what is left of it at the end."""
    async with _background(journal.run()):
        try:
            yield
        finally:
            now = clock.monotonic()
            until = (now if stopping.since is None else stopping.since) + JOURNAL_SECONDS
            await journal.close(max(LAST_JOURNAL_SECONDS, until - now))


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
