"""The only place where parts are built, connected and closed."""

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from starlette.applications import Starlette

from service import __version__
from service.access import DEFAULT_NAMESPACE, Principal, Scope
from service.clock import Clock, SystemClock
from service.hot import HotTier
from service.http.auth import Keyring
from service.http.health import HealthInputs
from service.http.lifespan import Buffers, LifespanState, Stopping
from service.http.routes import build_router
from service.leases import Leases
from service.memory.governor import Governor, Hooks
from service.memory.heap import HeapProbe
from service.memory.levers import Collect, Evict, MallocTrim, freeze_heap
from service.memory.machine import read_host
from service.memory.policy import Policy
from service.memory.quota import read_quota
from service.memory.usage import UsageProbe, open_probe
from service.sealing import Sealer
from service.sessions import Sessions
from service.settings import Settings
from service.store import (
    Defaults,
    Directory,
    LeaseStore,
    Link,
    RedisStore,
    RedisTarget,
    Watch,
    refs_of,
)

HOT_TIER_SHARE = 0.25
"""Of the quota. The rest is the interpreter, what is under way, and the way down from 70 %."""

FLOOR_SHARE = 0.1
"""Of the hot tier's budget: what an emergency leaves."""

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
            parts = _build(settings, clock)
            stack.callback(parts.probe.close)
            stack.push_async_callback(parts.link.aclose)
            watching = parts.watch.run(is_active=settings.enable_health_check)
            await stack.enter_async_context(_background(watching))
            await stack.enter_async_context(_background(parts.sealer.run()))
            await stack.enter_async_context(_background(parts.governor.run()))
            freeze_heap()
            yield _state(settings, clock, stopping, parts)

    return build_router(lifespan)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What is built once for each lifespan."""

    probe: UsageProbe
    link: Link
    watch: Watch
    hot: HotTier
    governor: Governor
    sealer: Sealer
    sessions: Sessions
    leases: Leases


def _build(settings: Settings, clock: Clock) -> _Parts:
    quota = read_quota(
        setting_mb=settings.memory_quota_mb,
        dyno_ram_mb=settings.dyno_ram_mb,
        host_bytes=read_host().total_bytes,
    )
    probe = open_probe(quota)
    target = RedisTarget(
        url=settings.redis_url,
        tls_verify=settings.tls_verify,
        tls_ca=settings.redis_tls_ca,
        max_connections=settings.redis_max_connections,
    )
    # Each needs the other: one tells what changes, the other asks whether it is being told.
    hot = HotTier(int(quota.bytes * HOT_TIER_SHARE), is_told=lambda: link.is_tracking)
    link = Link(target, lambda names: hot.invalidate(refs_of(names)))
    defaults = Defaults(
        ttl_ms=settings.session_ttl_ms,
        max_messages=settings.max_messages,
        dedupe_window=settings.dedupe_window,
    )
    store = RedisStore(link, settings.limits, defaults)
    sealer = Sealer(store, hot, clock)
    return _Parts(
        probe=probe,
        link=link,
        watch=Watch(link, clock, connections_max=settings.redis_max_connections),
        hot=hot,
        governor=_governor(settings, clock, probe, hot),
        sealer=sealer,
        sessions=Sessions(store, hot, sealer, clock, settings.limits),
        leases=Leases(LeaseStore(link), clock),
    )


def _governor(settings: Settings, clock: Clock, probe: UsageProbe, hot: HotTier) -> Governor:
    """Evict first: collecting and trimming give back what it has let go."""
    evict = Evict(
        hot.evict,
        lambda: hot.status.bytes,
        floor_bytes=int(hot.budget_bytes * FLOOR_SHARE),
        clock=clock,
    )
    return Governor(
        probe,
        (evict, Collect(probe.used_bytes), MallocTrim(probe.used_bytes)),
        clock=clock,
        policy=Policy(
            marks=settings.watermarks,
            enabled=settings.enable_memory_optimization,
            interval_seconds=settings.memory_sample_interval_ms / 1000,
            faults=settings.memory_fault,
        ),
        hooks=Hooks(evict=evict.run_at_once),
    )


def _keyring(settings: Settings) -> Keyring:
    """All keys that are set; without any, whoever is on a loopback bind is admin of `default`."""
    anyone = Principal(DEFAULT_NAMESPACE, Scope.ADMIN) if settings.is_loopback else None
    return Keyring(settings.credentials, anonymous=anyone)


def _state(settings: Settings, clock: Clock, stopping: Stopping, parts: _Parts) -> LifespanState:
    keyring, buffers, counters = _keyring(settings), Buffers(), Counter[str]()
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
            store=parts.watch.status,
            hot=parts.hot.status,
            buffer_bytes=buffers.held,
            counters={**counters, "sealingFailures": parts.sealer.failures},
            is_stopping=stopping.is_set,
            is_auth_missing=keyring.is_closed,
            is_health_check_enabled=settings.enable_health_check,
        )

    return LifespanState(
        sessions=parts.sessions,
        leases=parts.leases,
        directory=Directory(parts.link),
        keyring=keyring,
        limits=settings.limits,
        running=set(),
        default_ttl_ms=settings.session_ttl_ms,
        default_max_messages=settings.max_messages,
        buffers=buffers,
        stopping=stopping,
        counters=counters,
        governor=parts.governor,
        store_status=lambda: parts.watch.status,
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
