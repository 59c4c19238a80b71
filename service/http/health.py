"""The document of /health: a pure function of what is known, so that a poll waits for nothing.

ok    all is well. The standard tier too: evicting what Redis has is daily work, no news
warn  it serves, but somebody should look: Redis down or nearly full, no API key, emergency tier, a
      lower layer looks after memory
fail  it is stopping, or nobody looks after memory any more; the only one that is a 503
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from service.clock import rfc3339
from service.memory.cascade import Manager
from service.memory.governor import GovernorStatus
from service.memory.leak import LeakStatus
from service.vitals import (
    AccountsStatus,
    Cleanup,
    Counters,
    HeapReading,
    HostMemory,
    HotTierStatus,
    LeverReport,
    RedisPressureStatus,
    StoreStatus,
    Tier,
)

MIB = 1_048_576
NO_LEAK = LeakStatus()

Document = dict[str, object]


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
    accounts: AccountsStatus
    counters: Counters
    is_stopping: bool
    is_auth_missing: bool
    is_health_check_enabled: bool
    journal_bytes: int = 0
    leak: LeakStatus = NO_LEAK


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """An answer: the HTTP status and the document."""

    http_status: HTTPStatus
    document: Document


def build_health(inputs: HealthInputs) -> Health:
    """Build the answer; without the health check only the keys of the system it replaces remain."""
    status = judge(inputs)
    document = _seed_document(inputs, status)
    if inputs.is_health_check_enabled:
        document |= _details(inputs)
        document["memory"] = _seed_memory(inputs) | _memory(inputs)
    is_failing = status is HealthStatus.FAIL
    return Health(
        http_status=HTTPStatus.SERVICE_UNAVAILABLE if is_failing else HTTPStatus.OK,
        document=document,
    )


def judge(inputs: HealthInputs) -> HealthStatus:
    """Say in one word how it goes."""
    if inputs.is_stopping or inputs.governor.has_failed:
        return HealthStatus.FAIL
    is_pressed = Tier.EMERGENCY in {inputs.governor.tier, inputs.redis_pressure.tier}
    is_cut_off = not inputs.store.connected
    is_weak = inputs.governor.manager is not Manager.ADVANCED
    if is_cut_off or inputs.is_auth_missing or is_pressed or is_weak:
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
            inputs.leak.is_suspected,
            "Memory grows without a reason that is known: run `scripts/memctl leak`.",
        ),
    )
    return [sentence for applies, sentence in cases if applies] + list(_redis_warnings(inputs))


def _redis_warnings(inputs: HealthInputs) -> Iterator[str]:
    """Say how full Redis is, and what was lost by that."""
    pressure, usage = inputs.redis_pressure, _usage(inputs.store)
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


def _seed_document(inputs: HealthInputs, status: HealthStatus) -> Document:
    """The keys that monitors of the replaced system read."""
    governor = inputs.governor
    return {
        "status": status,
        "timestamp": rfc3339(inputs.now_ms),
        "uptime": inputs.uptime_seconds,
        "memory": _seed_memory(inputs),
        "memoryOptimizationEnabled": governor.is_enabled and not governor.is_late,
        "databaseConnected": inputs.store.connected,
    }


def _seed_memory(inputs: HealthInputs) -> Document:
    raw = {
        "rss": inputs.heap.rss_bytes,
        "heapTotal": inputs.heap.total_bytes,
        "heapUsed": inputs.heap.used_bytes,
        "external": inputs.hot.bytes + inputs.journal_bytes,
        "arrayBuffers": inputs.accounts.held_bytes,
    }
    system = {
        "systemTotal": inputs.host.total_bytes,
        "systemFree": inputs.host.free_bytes,
        "systemUsed": inputs.host.total_bytes - inputs.host.free_bytes,
    }
    return {
        "raw": raw,
        "formatted": {name: round(number / MIB) for name, number in (raw | system).items()},
        "percentages": {
            "heapUsage": _percent(inputs.heap.used_bytes, inputs.heap.total_bytes),
            "systemUsage": _percent(system["systemUsed"], system["systemTotal"]),
        },
    }


def _details(inputs: HealthInputs) -> Document:
    """What is told beyond the keys of the replaced system, but for memory."""
    return {
        "version": inputs.version,
        "releaseId": inputs.release_id,
        "hotTier": _hot_tier(inputs),
        "redis": _redis(inputs.store, inputs.redis_pressure),
        "counters": {**inputs.counters, **inputs.governor.counters},
        "warnings": list_warnings(inputs),
    }


def _memory(inputs: HealthInputs) -> Document:
    governor, reading = inputs.governor, inputs.governor.reading
    heap = () if inputs.heap.is_exact else ("heap_not_exact",)
    projected, action = governor.projected_seconds, governor.last_action
    return {
        "source": "+".join(dict.fromkeys((reading.quota_source, reading.usage_source))),
        "quota": reading.quota_bytes,
        "used": reading.used_bytes,
        "quotaUsage": _percent(reading.used_bytes, reading.quota_bytes),
        "tier": governor.tier,
        "manager": governor.manager,
        "peak": governor.peak_bytes,
        "projectedSecondsToQuota": None if projected is None else round(projected, 1),
        "degraded": [*governor.degraded, *heap],
        "lastAction": None if action is None else _cleanup(action),
        **_accounts(inputs.accounts),
        "leakSuspected": inputs.leak.is_suspected,
        "leak": _leak(inputs.leak),
    }


def _leak(leak: LeakStatus) -> Document:
    return {
        "slopeBytesPerHour": leak.slope_bytes_per_hour,
        "windows": leak.windows,
        "windowSeconds": round(leak.window_seconds),
    }


def _accounts(accounts: AccountsStatus) -> Document:
    return {
        "factor": None if accounts.factor is None else round(accounts.factor, 2),
        "admission": {
            "held": accounts.held_bytes,
            "limit": accounts.limit_bytes,
            "peak": accounts.peak_bytes,
            "refused": accounts.refused,
        },
        "listeners": {
            "count": accounts.listeners,
            "queued": accounts.queued_bytes,
            "closed": accounts.listeners_closed,
        },
    }


def _cleanup(cleanup: Cleanup) -> Document:
    return {
        "tier": cleanup.tier,
        "at": rfc3339(cleanup.at_ms),
        "requested": cleanup.requested,
        "levers": [_lever(report) for report in cleanup.levers],
        "freedBytes": cleanup.freed_bytes,
        "ms": round(cleanup.ms, 1),
    }


def _lever(report: LeverReport) -> Document:
    return {
        "name": report.name,
        "available": report.available,
        "freedBytes": report.freed_bytes,
        "returnedBytes": report.returned_bytes,
        "ms": round(report.ms, 1),
        "resting": report.is_resting,
    }


def _hot_tier(inputs: HealthInputs) -> Document:
    hot = inputs.hot
    return {
        "bytes": hot.bytes,
        "budget": hot.budget_bytes,
        "sessions": hot.sessions,
        "hits": hot.hits,
        "misses": hot.misses,
        "evicted": hot.evicted,
        "journalBytes": inputs.journal_bytes,
    }


def _redis(store: StoreStatus, pressure: RedisPressureStatus) -> Document:
    return {
        "connected": store.connected,
        "latencyMs": store.latency_ms,
        "usedMemory": store.used_memory_bytes,
        "maxMemory": store.max_memory_bytes,
        "usage": _usage(store),
        "pressure": pressure.tier,
        "policy": store.policy,
        "persistence": store.persistence,
        "tlsVerified": store.tls_verified,
        "clients": store.clients,
        "connectionsMax": store.connections_max,
        "lastError": store.last_error,
    }


def _usage(store: StoreStatus) -> int | None:
    """Whole percent of what Redis may use, rounded down: 70 is not shown below the mark."""
    return None if store.fraction is None else int(100 * store.fraction)


def _percent(part: int, whole: int) -> int:
    """Whole percent; 0 of nothing."""
    return round(100 * part / whole) if whole else 0
