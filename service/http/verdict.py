"""What the figures of /health come to: one word, and what to do about what is wrong.

ok    all is well. The standard tier too: evicting what Redis has is daily work, no news
warn  it serves, but somebody should look: Redis down or nearly full, messages dropped for that, or
      it evicts; writes lost, the server of the backups down, no API key, emergency tier, a quota
      that is too small, a leak, a lower layer looks after memory
fail  it is stopping, or nobody looks after memory any more; the only one that is a 503
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from service.memory.cascade import Manager
from service.memory.governor import GovernorStatus
from service.memory.leak import LeakStatus
from service.vitals import (
    AccountsStatus,
    Counters,
    HeapReading,
    HostMemory,
    HotTierStatus,
    RedisPressureStatus,
    ReplayStatus,
    StoreStatus,
    Tier,
)


class HealthStatus(StrEnum):
    """The one word."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthInputs:
    """Everything that /health tells."""

    now_ms: int
    uptime_seconds: float
    version: str
    release_id: str | None
    governor: GovernorStatus
    heap: HeapReading
    host: HostMemory
    store: StoreStatus
    redis_pressure: RedisPressureStatus
    hot: HotTierStatus
    replay: ReplayStatus
    journal_bytes: int
    accounts: AccountsStatus
    leak: LeakStatus
    counters: Counters
    is_stopping: bool
    is_auth_missing: bool
    is_health_check_enabled: bool
    is_backup_away: bool = False


def judge(inputs: HealthInputs) -> HealthStatus:
    """Say in one word how it goes."""
    if inputs.is_stopping or inputs.governor.has_failed:
        return HealthStatus.FAIL
    governor, pressure = inputs.governor, inputs.redis_pressure
    needs_somebody = (
        not inputs.store.connected,
        inputs.is_auth_missing,
        inputs.is_backup_away,
        Tier.EMERGENCY in {governor.tier, pressure.tier},
        governor.manager is not Manager.ADVANCED,
        inputs.accounts.is_tight,
        inputs.leak.is_suspected,
        pressure.dropped_messages > 0,
        inputs.replay.lost_writes > 0,
        inputs.store.evicts,
    )
    if any(needs_somebody):
        return HealthStatus.WARN
    return HealthStatus.OK


def list_warnings(inputs: HealthInputs) -> list[str]:
    """Say what is wrong, and what to do about it."""
    governor, store = inputs.governor, inputs.store
    cases = (
        (inputs.is_stopping, "Stopping: send requests elsewhere."),
        (
            not store.connected,
            "Redis does not answer: check REDIS_URL and the server; until then /v1 answers 503.",
        ),
        (
            inputs.is_auth_missing,
            "No API key is set: set API_KEY; until then /v1 answers 401.",
        ),
        (
            inputs.is_backup_away,
            "The server of the backups does not answer: check BACKUP_REDIS_URL.",
        ),
        (
            governor.tier is Tier.EMERGENCY,
            "Memory is nearly used up: move to a larger dyno or send less at a time.",
        ),
        (
            governor.is_late,
            "The memory governor is late: if this stays, restart the process and read its log.",
        ),
        (
            governor.manager is not Manager.ADVANCED and not governor.is_late,
            "A lower layer looks after memory: if this stays, restart the process, read its log.",
        ),
        (
            not governor.is_enabled,
            "Memory is measured but not governed: set ENABLE_MEMORY_OPTIMIZATION=true.",
        ),
        (
            inputs.accounts.is_tight,
            "The memory quota is too small for the service itself: move to a larger dyno.",
        ),
        (
            inputs.leak.is_suspected,
            "Memory grows without a reason that is known: run `scripts/memctl leak`.",
        ),
    )
    sentences = [sentence for applies, sentence in cases if applies]
    return [*sentences, *_redis_warnings(inputs), *_replay_warnings(inputs.replay)]


def _replay_warnings(replay: ReplayStatus) -> Iterator[str]:
    """Say what Redis has lost for good."""
    if replay.lost_writes:
        yield (
            f"{replay.lost_writes} acknowledged writes were lost with Redis's memory."
            " Take a plan with persistence, or raise REPLAY_MAX_MB."
        )
    if replay.missing_processes:
        yield (
            f"{replay.missing_processes} processes ended together with Redis's memory: what only"
            " they knew of it is lost. Take a plan with persistence."
        )


def _redis_warnings(inputs: HealthInputs) -> Iterator[str]:
    """Say how full Redis is, and what was or will be lost by that."""
    pressure, usage = inputs.redis_pressure, usage_percent(inputs.store)
    if inputs.store.evicts:
        yield (
            f"Redis deletes sessions by itself when it is full ({inputs.store.policy}): set its"
            " maxmemory-policy to noeviction; until then what was acknowledged may vanish."
        )
    if pressure.tier is not Tier.NORMAL and usage is not None:
        is_emergency = pressure.tier is Tier.EMERGENCY
        yield (
            f"Redis is {usage} % full{': soon writes are answered 507' if is_emergency else ''}."
            " Take a larger plan, set a shorter ttl or a lower MAX_MESSAGES."
        )
    if pressure.dropped_messages:
        yield (
            f"{pressure.dropped_messages} messages of {pressure.dropped_sessions} sessions were"
            " dropped since the start, because Redis was nearly full and"
            f" REDIS_EMERGENCY_KEEP_MESSAGES is {pressure.keep_messages}."
            " Take a larger plan, or unset it: nothing is dropped then."
        )


def usage_percent(store: StoreStatus) -> int | None:
    """Whole percent of what Redis may use, rounded down: 70 is not shown below the mark."""
    return None if store.fraction is None else int(100 * store.fraction)
