"""The document of /health: a pure function of what is known, so that a poll waits for nothing."""

from dataclasses import dataclass
from http import HTTPStatus

from service.clock import rfc3339
from service.http.verdict import HealthInputs, HealthStatus, judge, list_warnings, usage_percent
from service.memory.leak import LeakStatus
from service.vitals import (
    AccountsStatus,
    Cleanup,
    LeverReport,
    Recovered,
    RedisPressureStatus,
    ReplayStatus,
    StoreStatus,
)

MIB = 1_048_576

Document = dict[str, object]


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
        "durability": _durability(inputs.store, inputs.replay),
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
            "count": sum(accounts.listeners.values()),
            "kinds": accounts.listeners,
            "oldestSeconds": round(accounts.oldest_listener_seconds, 1),
            "queued": accounts.queued_bytes,
            "closed": accounts.listeners_closed,
        },
    }


def _cleanup(cleanup: Cleanup) -> Document:
    return {
        "tier": cleanup.tier,
        "at": rfc3339(cleanup.at_ms),
        "requested": cleanup.requested,
        "levers": [lever_document(report) for report in cleanup.levers],
        "freedBytes": cleanup.freed_bytes,
        "ms": round(cleanup.ms, 1),
    }


def lever_document(report: LeverReport) -> Document:
    """Return what one lever did."""
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
        "usage": usage_percent(store),
        "pressure": pressure.tier,
        "policy": store.policy,
        "persistence": store.persistence,
        "tlsVerified": store.tls_verified,
        "invalidation": "tracking" if store.is_tracking else "none",
        "clients": store.clients,
        "connectionsMax": store.connections_max,
        "lastError": store.last_error,
    }


def _durability(store: StoreStatus, replay: ReplayStatus) -> Document:
    """Return what a write survives: by the server, and by what its writers can play again."""
    log, last = replay.log, replay.last
    return {
        "writes": "redis+replay" if log.budget_bytes else "redis",
        "persistence": store.persistence,
        "replay": {
            "bytes": log.bytes,
            "budget": log.budget_bytes,
            "writes": log.writes,
            "dropped": log.dropped,
            "since": None if log.since_ms is None else rfc3339(log.since_ms),
            "processes": replay.processes,
            "running": replay.is_running,
            "last": None if last is None else _recovered(last),
        },
    }


def _recovered(last: Recovered) -> Document:
    return {
        "at": rfc3339(last.at_ms),
        "ms": round(last.ms, 1),
        "sessions": last.sessions,
        "replayed": last.replayed,
        "lost": last.lost,
        "missingProcesses": last.missing_processes,
    }


def _percent(part: int, whole: int) -> int:
    """Whole percent; 0 of nothing."""
    return round(100 * part / whole) if whole else 0
