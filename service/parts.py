"""Builds the parts of the service and joins them; nothing is opened but files of the kernel."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.backups import BackupPolicy, Backups
from service.clock import Clock
from service.hot import HotTier
from service.journal import Journal
from service.leases import Leases
from service.memory.accounts import Accounts
from service.memory.admission import Admission
from service.memory.governor import Governor, Hooks
from service.memory.leak import Leak
from service.memory.levers import (
    CloseListeners,
    Collect,
    Evict,
    Lever,
    MallocTrim,
    Offload,
    Shorten,
)
from service.memory.listeners import Listeners
from service.memory.machine import read_host
from service.memory.plan import Plan, Wanted, make_plan
from service.memory.policy import Policy
from service.memory.quota import read_quota
from service.memory.usage import UsageProbe, open_probe
from service.model import Limits
from service.redis_pressure import RedisPolicy, RedisPressure
from service.rounds import Rounds
from service.sealing import Sealer
from service.sessions import Sessions
from service.settings import Settings
from service.store import (
    BackupStore,
    Census,
    Defaults,
    LeaseStore,
    Link,
    Recovery,
    RedisStore,
    RedisTarget,
    ReplayLog,
    Watch,
    refs_of,
)
from service.vitals import MemoryFault, MemoryReading, Tier

MIB = 1_048_576
BACKUPS_END = 0.7
"""Of the maxmemory of the sessions' Redis: from there on it takes no second copies of state."""

FLOOR_SHARE = 0.1
"""Of the hot tier's budget: what an emergency leaves."""

FORGOTTEN_AT_ONCE_BYTES = MIB

_log = logging.getLogger("ballast.memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Both tiers, and who stands between them."""

    link: Link
    watch: Watch
    store: RedisStore
    hot: HotTier
    log: ReplayLog
    recovery: Recovery
    sealer: Sealer
    sessions: Sessions
    backups: Backups
    leases: Leases


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What looks after the memory of this process."""

    plan: Plan
    probe: UsageProbe
    admission: Admission
    listeners: Listeners
    leak: Leak


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is built once for each lifespan."""

    memory: Memory
    storage: Storage
    accounts: Accounts
    governor: Governor
    redis_pressure: RedisPressure


def build_parts(settings: Settings, clock: Clock) -> Parts:
    """Build all parts; the caller opens and closes them."""
    memory = _memory(settings, clock)
    storage = _storage(settings, clock, memory)
    hot, journal = storage.hot, storage.sessions.journal
    accounts = Accounts(
        memory.plan,
        lambda: hot.held_bytes + journal.held_bytes + storage.log.held_bytes,
        memory.admission,
        memory.listeners,
        is_acting=settings.enable_memory_optimization,
    )
    governor = _governor(settings, clock, memory, storage, accounts)
    return Parts(
        memory=memory,
        storage=storage,
        accounts=accounts,
        governor=governor,
        redis_pressure=_redis_pressure(settings, clock, storage),
    )


def _memory(settings: Settings, clock: Clock) -> Memory:
    quota = read_quota(
        setting_mb=settings.memory_quota_mb,
        dyno_ram_mb=settings.dyno_ram_mb,
        host_bytes=read_host().total_bytes,
    )
    probe = open_probe(quota, clock=clock)
    plan = make_plan(
        quota.bytes,
        probe.used_bytes(),
        settings.watermarks,
        settings.limits,
        Wanted(
            journal_bytes=settings.journal_max_mb * MIB,
            replay_bytes=settings.replay_max_mb * MIB,
        ),
    )
    _tell(plan, settings.limits)
    listeners = Listeners(clock)
    return Memory(
        plan=plan,
        probe=probe,
        admission=Admission(
            plan.in_flight_bytes,
            is_open=MemoryFault.ADMISSION in settings.memory_fault,
            make_room=listeners.close_old_readers,
        ),
        listeners=listeners,
        leak=Leak(quota.bytes),
    )


def _tell(plan: Plan, limits: Limits) -> None:
    """Say how the quota is divided, and whether calls may hold less than was set."""
    under_way, hot = plan.in_flight_bytes // MIB, plan.hot_bytes // MIB
    _log.info("Memory: %d MB for sessions, %d MB for what is under way.", hot, under_way)
    if plan.limits != limits:
        words = (
            "The quota has no room for the limits that are set: bodies of %d, answers of %d bytes."
        )
        _log.warning(words, plan.limits.max_body_bytes, plan.limits.max_answer_bytes)


def _storage(settings: Settings, clock: Clock, memory: Memory) -> Storage:
    target = RedisTarget(
        url=settings.redis_url,
        tls_verify=settings.tls_verify,
        tls_ca=settings.redis_tls_ca,
        max_connections=settings.redis_max_connections,
    )
    # Each needs the other: one tells what changes, the other asks whether it is being told.
    hot = HotTier(memory.plan.hot_bytes, is_told=lambda: link.is_tracking)
    log = ReplayLog(memory.plan.replay_bytes)
    recovery = Recovery(target, log, clock, lambda: _forget(hot))
    link = Link(target, lambda names: _hear(names, hot, recovery), recovery.guard)
    defaults = Defaults(
        ttl_ms=settings.session_ttl_ms,
        max_messages=settings.max_messages,
        dedupe_window=settings.dedupe_window,
    )
    limits = memory.plan.limits
    store = RedisStore(link, limits, defaults, memory.admission.begin, log)
    sealer = Sealer(store, hot, clock)
    watch = Watch(link, clock, connections_max=settings.redis_max_connections)
    policy = BackupPolicy(
        enabled=settings.enable_session_backup,
        is_full=lambda: (watch.status.fraction or 0.0) >= BACKUPS_END,
        settle=lambda ref: sessions.journal.settle(ref),  # noqa: PLW0108 # it is made below
    )
    backups = Backups(store, _copies(settings, link, target), hot, clock, policy)
    sessions = Sessions(
        store,
        hot,
        sealer,
        clock,
        limits,
        journal_bytes=memory.plan.journal_bytes,
        backups=backups,
    )
    return Storage(
        link=link,
        watch=watch,
        store=store,
        hot=hot,
        log=log,
        recovery=recovery,
        sealer=sealer,
        sessions=sessions,
        backups=backups,
        leases=Leases(LeaseStore(link), clock),
    )


def _hear(names: Sequence[bytes] | None, hot: HotTier, recovery: Recovery) -> None:
    """Pass on which keys have changed in Redis; None = any, as when all were deleted."""
    hot.invalidate(refs_of(names))
    recovery.hear(names)


async def _forget(hot: HotTier) -> None:
    """Empty the hot tier, a slice at a time."""
    while hot.held_bytes:
        hot.evict(FORGOTTEN_AT_ONCE_BYTES)
        await asyncio.sleep(0)


def _copies(settings: Settings, link: Link, target: RedisTarget) -> BackupStore:
    """Copies of state are kept beside the sessions, unless there is a second server for them."""
    if settings.backup_redis_url is None:
        return BackupStore(link, is_elsewhere=False)
    elsewhere = Link(replace(target, url=settings.backup_redis_url))
    return BackupStore(elsewhere, is_elsewhere=True)


def _redis_pressure(settings: Settings, clock: Clock, storage: Storage) -> RedisPressure:
    census = Census(storage.link)
    policy = RedisPolicy(
        keep_messages=settings.redis_emergency_keep_messages,
        enabled=settings.enable_memory_optimization,
    )
    rounds = Rounds(census, storage.store, storage.hot, storage.sealer, clock)
    return RedisPressure(storage.watch, rounds, clock, policy)


def _offload(plan: Plan, journal: Journal) -> tuple[Lever, ...]:
    """Return the lever of the journal, if there is one."""
    is_on = plan.journal_bytes > 0
    return (Offload(journal.flush, lambda: journal.held_bytes),) if is_on else ()


def _governor(
    settings: Settings, clock: Clock, memory: Memory, storage: Storage, accounts: Accounts
) -> Governor:
    """First what empties, then what gives the emptied pages back."""
    probe, hot = memory.probe, storage.hot
    trim = MallocTrim(probe.used_bytes)
    evict = Evict(
        hot.evict,
        lambda: hot.held_bytes,
        floor_bytes=int(hot.budget_bytes * FLOOR_SHARE),
        give_back=trim.give_back,
        clock=clock,
    )

    def observe(reading: MemoryReading, tier: Tier) -> None:
        accounts.observe(reading, tier)
        memory.leak.add(clock.monotonic(), reading.used_bytes, accounts.counted_bytes)

    return Governor(
        probe,
        (
            *_offload(memory.plan, storage.sessions.journal),
            evict,
            Shorten(hot.shorten),
            CloseListeners(memory.listeners),
            Collect(probe.used_bytes),
            trim,
        ),
        clock=clock,
        policy=Policy(
            marks=settings.watermarks,
            enabled=settings.enable_memory_optimization,
            interval_seconds=settings.memory_sample_interval_ms / 1000,
            faults=settings.memory_fault,
        ),
        hooks=Hooks(evict=evict.run_at_once, on_reading=observe),
    )
