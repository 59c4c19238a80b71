"""Each layer frees memory of a real service while those above it fail; it answers throughout."""

import time
from pathlib import Path

import pytest

from tests.memory_groups import SMALL_REQUESTS, find_hierarchy, memory_groups
from tests.processes import Service, start_service, wait_until
from tests.servers import Server
from tests.system.conftest import check_values, fill

MIB = 1_048_576
QUOTA_BYTES = 80 * MIB
# The interpreter alone is above the leave mark: who works at all lets go of the whole hot tier.
MARKS = {"MEMORY_STANDARD_PERCENT": "45", "MEMORY_EMERGENCY_PERCENT": "90"}
SESSIONS = 300
LAYERS = ("advanced", "basic", "direct", "health")


def hot_bytes(service: Service) -> int:
    held: int = service.health()["hotTier"]["bytes"]
    return held


def faulty_service(redis_server: Server, group: Path, faults: tuple[str, ...]) -> Service:
    return start_service(
        group, REDIS_URL=redis_server.url, MEMORY_FAULT=",".join(faults), **MARKS, **SMALL_REQUESTS
    )


@pytest.mark.parametrize("manager", LAYERS)
def test_a_layer_frees_memory_while_those_above_it_fail(redis_server: Server, manager: str) -> None:
    faults = LAYERS[: LAYERS.index(manager)]
    with (
        memory_groups(find_hierarchy(), f"layer-{manager}", QUOTA_BYTES) as (_, group),
        faulty_service(redis_server, group, faults) as service,
    ):
        service.wait_until_connected()
        fill(service, SESSIONS)
        # The layer of /health acts once in 10 s.
        wait_until(lambda: hot_bytes(service) < MIB, seconds=15, what="an empty hot tier")
        health = service.health()
        check_values(service, range(0, SESSIONS, 10))
        log = service.log

    memory = health["memory"]
    assert (memory["manager"], memory["tier"]) == (manager, "standard")
    assert memory["lastAction"]["tier"] == "standard"
    assert [lever["name"] for lever in memory["lastAction"]["levers"]] == [
        *(("offload",) if manager == "advanced" else ()),
        *("evict", "collect", "malloc_trim"),
    ]
    assert sorted(f"{name}_failed" for name in faults) == sorted(
        each for each in memory["degraded"] if each.endswith("_failed")
    )
    assert health["counters"]["memoryFreedBytes"] > 4 * MIB
    assert 10 * MIB < memory["used"] < QUOTA_BYTES
    for name in faults:
        assert log.count(f"Memory layer {name} failed and is tried again later") == 1
    assert "🧹 Running standard memory cleanup..." in log


def test_without_any_layer_the_memory_stays_and_health_says_that_nobody_looks(
    redis_server: Server,
) -> None:
    with (
        memory_groups(find_hierarchy(), "layer-none", QUOTA_BYTES) as (_, group),
        faulty_service(redis_server, group, LAYERS) as service,
    ):
        service.wait_until_connected()
        fill(service, SESSIONS)
        wait_until(
            lambda: service.http.get("/health").status_code == 503, seconds=10, what="a failure"
        )
        full_bytes, until = hot_bytes(service), time.monotonic() + 2
        while time.monotonic() < until:
            assert hot_bytes(service) == full_bytes
            check_values(service, range(1))
        health = service.health()

    assert full_bytes > 4 * MIB
    assert (health["status"], health["memory"]["manager"]) == ("fail", "health")
    assert health["memory"]["lastAction"] is None
