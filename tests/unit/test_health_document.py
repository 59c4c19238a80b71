from dataclasses import replace
from typing import Any

import orjson
import pytest

from service.http.health import build_health
from service.http.verdict import HealthInputs
from service.memory.cascade import Manager
from service.memory.governor import GovernorStatus
from service.memory.leak import LeakStatus
from service.vitals import (
    AccountsStatus,
    Cleanup,
    HeapReading,
    HostMemory,
    HotTierStatus,
    LeverReport,
    MemoryReading,
    Recovered,
    RedisPressureStatus,
    ReplayLogStatus,
    ReplayStatus,
    StoreStatus,
    Tier,
)

MIB = 1_048_576
NOW_MS = 1_743_873_212_189

GOVERNOR = GovernorStatus(
    reading=MemoryReading(
        used_bytes=300 * MIB,
        quota_bytes=512 * MIB,
        usage_source="pss",
        quota_source="cgroup1",
    ),
    tier=Tier.NORMAL,
    manager=Manager.ADVANCED,
    peak_bytes=310 * MIB,
    projected_seconds=None,
    degraded=(),
    last_action=None,
    counters={"memoryTicks": 7},
    is_enabled=True,
    is_late=False,
    has_failed=False,
)
CLEANUP = Cleanup(
    tier=Tier.STANDARD,
    at_ms=NOW_MS,
    requested=False,
    levers=(
        LeverReport(
            name="evict", available=True, freed_bytes=9, before_bytes=20, after_bytes=13, ms=1.234
        ),
        LeverReport(name="collect", available=True, is_resting=True),
    ),
    freed_bytes=8,
    ms=2.345,
)
WELL = HealthInputs(
    now_ms=NOW_MS,
    uptime_seconds=4.172818665,
    version="0.1.0",
    release_id="v42",
    governor=GOVERNOR,
    heap=HeapReading(
        rss_bytes=112_119_808,
        total_bytes=44_113_920,
        used_bytes=27_160_048,
        is_exact=True,
    ),
    host=HostMemory(total_bytes=64_313 * MIB, free_bytes=14_752 * MIB),
    store=StoreStatus(connected=True, latency_ms=0.4, used_memory_bytes=5, tls_verified=False),
    redis_pressure=RedisPressureStatus(),
    hot=HotTierStatus(
        bytes=3_504_000,
        budget_bytes=9 * MIB,
        sessions=2,
        hits=3,
        misses=4,
        evicted=5,
    ),
    journal_bytes=748,
    replay=ReplayStatus(
        log=ReplayLogStatus(
            bytes=70_000, budget_bytes=2 * MIB, writes=1_234, dropped=5, since_ms=NOW_MS - 1_000
        ),
        processes=2,
        last=Recovered(
            at_ms=NOW_MS, ms=12.345, sessions=7, replayed=30, lost=0, missing_processes=0
        ),
    ),
    accounts=AccountsStatus(
        factor=1.0549,
        held_bytes=77_927,
        limit_bytes=9 * MIB,
        peak_bytes=78_000,
        refused=6,
        listeners={"slow_reader": 2},
        oldest_listener_seconds=1.25,
        queued_bytes=65_536,
        listeners_closed=1,
        is_tight=False,
    ),
    leak=LeakStatus(),
    counters={"requests": 12},
    is_stopping=False,
    is_auth_missing=False,
    is_health_check_enabled=True,
)
SEED_KEYS = {
    "status",
    "timestamp",
    "uptime",
    "memory",
    "memoryOptimizationEnabled",
    "databaseConnected",
}


def read(inputs: HealthInputs) -> Any:  # noqa: ANN401 # as a client sees it: parsed JSON
    return orjson.loads(orjson.dumps(build_health(inputs).document))


def governed(**changes: Any) -> HealthInputs:  # noqa: ANN401 # fields of GovernorStatus
    return replace(WELL, governor=replace(GOVERNOR, **changes))


DOWN = replace(WELL, store=StoreStatus(connected=False, last_error="connection refused"))
UNGUARDED = replace(WELL, is_auth_missing=True)
BACKUP_AWAY = replace(WELL, is_backup_away=True)
EVICTING = replace(
    WELL, store=replace(WELL.store, max_memory_bytes=100 * MIB, policy="allkeys-lru")
)
STOPPING = replace(WELL, is_stopping=True)
PRESSED = governed(tier=Tier.EMERGENCY)
BUSY = governed(tier=Tier.STANDARD)
LOWER = governed(manager=Manager.BASIC)
LATE = governed(is_late=True, manager=Manager.HEALTH)
LOST = governed(is_late=True, manager=Manager.HEALTH, has_failed=True)
OFF = governed(is_enabled=False)


def filled(percent: float, tier: Tier, **dropped: int) -> HealthInputs:
    used = int(percent * MIB)
    store = replace(WELL.store, used_memory_bytes=used, max_memory_bytes=100 * MIB)
    pressure = RedisPressureStatus(tier=tier, **dropped)
    return replace(WELL, store=store, redis_pressure=pressure)


FILLING = filled(78.4, Tier.STANDARD)
FULL = filled(91.0, Tier.EMERGENCY)
LOSSY = filled(50, Tier.NORMAL, keep_messages=100, dropped_messages=12_345, dropped_sessions=67)


def test_the_figures_of_the_seeds_own_example_come_out_as_they_stand_there() -> None:
    document = read(WELL)
    assert document["timestamp"] == "2025-04-05T17:13:32.189Z"
    assert document["uptime"] == 4.172818665
    assert document["memory"]["raw"] == {
        "rss": 112_119_808,
        "heapTotal": 44_113_920,
        "heapUsed": 27_160_048,
        "external": 3_504_748,
        "arrayBuffers": 77_927,
    }
    assert document["memory"]["formatted"] == {
        "heapUsed": 26,
        "heapTotal": 42,
        "rss": 107,
        "external": 3,
        "arrayBuffers": 0,
        "systemTotal": 64_313,
        "systemFree": 14_752,
        "systemUsed": 49_561,
    }
    assert document["memory"]["percentages"] == {"heapUsage": 62, "systemUsage": 77}


def test_the_bytes_that_keyword_monitors_look_for_are_there() -> None:
    assert b'"status":"ok"' in orjson.dumps(build_health(WELL).document)


def test_the_keys_are_those_of_the_contract() -> None:
    document = read(WELL)
    added = {"version", "releaseId", "hotTier", "redis", "durability", "counters", "warnings"}
    assert document.keys() == SEED_KEYS | added
    assert document["memory"].keys() == {
        *("raw", "formatted", "percentages", "source", "quota", "used", "quotaUsage", "tier"),
        *("manager", "peak", "projectedSecondsToQuota", "degraded", "lastAction"),
        *("factor", "admission", "listeners", "leakSuspected", "leak"),
    }
    assert document["redis"].keys() == {
        *("connected", "latencyMs", "usedMemory", "maxMemory", "policy", "persistence"),
        *("usage", "pressure"),
        *("tlsVerified", "invalidation", "clients", "connectionsMax", "lastError"),
    }
    assert document["durability"] == {
        "writes": "redis+replay",
        "persistence": None,
        "replay": {
            "bytes": 70_000,
            "budget": 2 * MIB,
            "writes": 1_234,
            "dropped": 5,
            "since": "2025-04-05T17:13:31.189Z",
            "processes": 2,
            "running": False,
            "last": {
                "at": "2025-04-05T17:13:32.189Z",
                "ms": 12.3,
                "sessions": 7,
                "replayed": 30,
                "lost": 0,
                "missingProcesses": 0,
            },
        },
    }
    assert document["hotTier"] == {
        "bytes": 3_504_000,
        "budget": 9 * MIB,
        "sessions": 2,
        "hits": 3,
        "misses": 4,
        "evicted": 5,
        "journalBytes": 748,
    }


def test_what_is_counted_is_told() -> None:
    memory = read(WELL)["memory"]
    assert memory["factor"] == 1.05
    limit, peak = 9 * MIB, 78_000
    assert memory["admission"] == {"held": 77_927, "limit": limit, "peak": peak, "refused": 6}
    assert memory["listeners"] == {
        "count": 2,
        "kinds": {"slow_reader": 2},
        "oldestSeconds": 1.2,
        "queued": 65_536,
        "closed": 1,
    }


def test_memory_is_told_in_bytes_and_whole_percent_of_the_quota() -> None:
    memory = read(governed(projected_seconds=12.345))["memory"]
    assert (memory["quota"], memory["used"], memory["quotaUsage"]) == (512 * MIB, 300 * MIB, 59)
    assert (memory["tier"], memory["manager"], memory["peak"]) == (
        "normal",
        "advanced",
        310 * MIB,
    )
    assert (memory["projectedSecondsToQuota"], memory["lastAction"]) == (12.3, None)


@pytest.mark.parametrize(
    ("quota_source", "usage_source", "source"),
    [("cgroup2", "cgroup2", "cgroup2"), ("setting", "pss", "setting+pss")],
)
def test_the_source_names_who_set_the_quota_and_who_measured_the_use(
    quota_source: str,
    usage_source: str,
    source: str,
) -> None:
    reading = replace(GOVERNOR.reading, quota_source=quota_source, usage_source=usage_source)
    assert read(governed(reading=reading))["memory"]["source"] == source


def test_the_last_action_is_told_lever_by_lever() -> None:
    assert read(governed(last_action=CLEANUP))["memory"]["lastAction"] == {
        "tier": "standard",
        "at": "2025-04-05T17:13:32.189Z",
        "requested": False,
        "levers": [
            {
                "name": "evict",
                "available": True,
                "freedBytes": 9,
                "returnedBytes": 7,
                "ms": 1.2,
                "resting": False,
            },
            {
                "name": "collect",
                "available": True,
                "freedBytes": 0,
                "returnedBytes": 0,
                "ms": 0.0,
                "resting": True,
            },
        ],
        "freedBytes": 8,
        "ms": 2.3,
    }


def test_what_cannot_be_seen_is_degraded() -> None:
    inputs = governed(degraded=("usage_is_rss",))
    assert read(inputs)["memory"]["degraded"] == ["usage_is_rss"]
    blind = replace(inputs, heap=replace(WELL.heap, is_exact=False))
    assert read(blind)["memory"]["degraded"] == ["usage_is_rss", "heap_not_exact"]


def test_the_counters_of_the_service_and_of_its_memory_stand_together() -> None:
    assert read(WELL)["counters"] == {"requests": 12, "memoryTicks": 7}


@pytest.mark.parametrize(
    ("inputs", "word", "http_status"),
    [
        (WELL, "ok", 200),
        (BUSY, "ok", 200),
        (OFF, "ok", 200),
        (DOWN, "warn", 200),
        (UNGUARDED, "warn", 200),
        (BACKUP_AWAY, "warn", 200),
        (PRESSED, "warn", 200),
        (LOWER, "warn", 200),
        (LATE, "warn", 200),
        (FILLING, "ok", 200),
        (FULL, "warn", 200),
        (LOSSY, "warn", 200),
        (EVICTING, "warn", 200),
        (STOPPING, "fail", 503),
        (LOST, "fail", 503),
    ],
)
@pytest.mark.parametrize("is_health_check_enabled", [True, False])
def test_the_status_is_a_word_and_a_number(
    inputs: HealthInputs,
    word: str,
    http_status: int,
    *,
    is_health_check_enabled: bool,
) -> None:
    health = build_health(replace(inputs, is_health_check_enabled=is_health_check_enabled))
    assert (health.document["status"], health.http_status) == (word, http_status)


@pytest.mark.parametrize(
    ("inputs", "setting"),
    [
        (DOWN, "REDIS_URL"),
        (UNGUARDED, "API_KEY"),
        (BACKUP_AWAY, "BACKUP_REDIS_URL"),
        (PRESSED, "larger dyno"),
        (LOWER, "layer"),
        (LATE, "restart"),
        (STOPPING, "elsewhere"),
        (OFF, "ENABLE_MEMORY_OPTIMIZATION"),
        (
            FILLING,
            "Redis is 78 % full. Take a larger plan, set a shorter ttl or a lower MAX_MESSAGES.",
        ),
        (FULL, "Redis is 91 % full: soon writes are answered 507."),
        (LOSSY, "12345 messages of 67 sessions were dropped"),
        (LOSSY, "REDIS_EMERGENCY_KEEP_MESSAGES is 100"),
        (EVICTING, "(allkeys-lru): set its maxmemory-policy to noeviction"),
    ],
)
def test_a_warning_says_what_to_do(inputs: HealthInputs, setting: str) -> None:
    (warning,) = read(inputs)["warnings"]
    assert setting in warning


def test_without_a_reason_nothing_is_warned_of() -> None:
    assert read(WELL)["warnings"] == []


@pytest.mark.parametrize(
    ("inputs", "usage", "pressure"),
    [
        (WELL, None, "normal"),
        (FILLING, 78, "standard"),
        (FULL, 91, "emergency"),
        (filled(69.9, Tier.NORMAL), 69, "normal"),
    ],
)
def test_the_fullness_of_redis_is_told(
    inputs: HealthInputs, usage: int | None, pressure: str
) -> None:
    redis = read(inputs)["redis"]
    assert (redis["usage"], redis["pressure"]) == (usage, pressure)


@pytest.mark.parametrize("policy", ["noeviction", None])
def test_a_redis_that_refuses_what_is_too_much_is_well(policy: str | None) -> None:
    store = replace(EVICTING.store, policy=policy)
    assert build_health(replace(EVICTING, store=store)).document["status"] == "ok"


def test_a_redis_that_is_never_full_evicts_nothing() -> None:
    store = replace(EVICTING.store, max_memory_bytes=None)
    assert read(replace(EVICTING, store=store))["warnings"] == []


def test_it_says_how_it_hears_of_changes() -> None:
    assert read(WELL)["redis"]["invalidation"] == "none"
    told = replace(WELL, store=replace(WELL.store, is_tracking=True))
    assert read(told)["redis"]["invalidation"] == "tracking"


def test_nothing_is_warned_of_a_fullness_that_nobody_can_tell() -> None:
    away = replace(FULL, store=replace(DOWN.store))
    (warning,) = read(away)["warnings"]
    assert "REDIS_URL" in warning


def test_without_redis_it_says_so_and_why() -> None:
    document = read(DOWN)
    assert document["databaseConnected"] is False
    assert document["redis"]["lastError"] == "connection refused"
    assert document["redis"]["latencyMs"] is None


@pytest.mark.parametrize(
    ("inputs", "is_running"), [(WELL, True), (LOWER, True), (OFF, False), (LATE, False)]
)
def test_memory_is_optimised_while_the_governor_runs(
    inputs: HealthInputs,
    *,
    is_running: bool,
) -> None:
    assert read(inputs)["memoryOptimizationEnabled"] is is_running


def test_with_the_health_check_off_the_keys_of_the_seed_remain() -> None:
    document = read(replace(DOWN, is_health_check_enabled=False))
    assert document.keys() == SEED_KEYS
    assert document["memory"].keys() == {"raw", "formatted", "percentages"}


def test_a_heap_of_nothing_is_used_to_no_part() -> None:
    empty = replace(WELL, heap=HeapReading(rss_bytes=0, total_bytes=0, used_bytes=0, is_exact=True))
    assert read(empty)["memory"]["percentages"]["heapUsage"] == 0


def test_a_leak_that_is_suspected_is_told_with_what_to_do() -> None:
    leak = LeakStatus(is_suspected=True, slope_bytes_per_hour=9_000, windows=16)
    document = read(replace(WELL, leak=leak))

    assert document["memory"]["leakSuspected"] is True
    assert document["memory"]["leak"] == {
        "slopeBytesPerHour": 9_000,
        "windows": 16,
        "windowSeconds": 60,
    }
    assert document["status"] == "warn"
    assert any("`scripts/memctl leak`" in warning for warning in document["warnings"])
    assert read(WELL)["memory"]["leakSuspected"] is False
    assert not any("memctl" in warning for warning in read(WELL)["warnings"])
