"""A service whose memory runs short lets go of what Redis has, says so, and forgets nothing."""

import re
from collections.abc import Iterator
from random import Random

import pytest

from tests.memory_groups import SMALL_REQUESTS, find_hierarchy, memory_groups
from tests.processes import Service, start_service, wait_until
from tests.servers import Server, start_server

MIB = 1_048_576
QUOTA_BYTES = 80 * MIB
# 34 MB are the interpreter's, and 12 MB the hot tier's: 57 % when that is full.
MARKS = {"MEMORY_STANDARD_PERCENT": "50", "MEMORY_EMERGENCY_PERCENT": "85"} | SMALL_REQUESTS
SESSIONS = 500
VALUE = Random(1).randbytes(65_536)  # it packs no smaller


@pytest.fixture
def redis_server() -> Iterator[Server]:
    with start_server("valkey") as server:
        yield server


def fill(service: Service) -> None:
    """Write more than the hot tier may hold, so that it is full."""
    for number in range(SESSIONS):
        path = f"/v1/sessions/chat-{number}/state/history"
        headers = {"Content-Type": "text/plain"}
        assert service.http.put(path, content=VALUE, headers=headers).status_code in {201, 204}


def test_the_standard_tier_evicts_and_no_answer_changes(redis_server: Server) -> None:
    with (
        memory_groups(find_hierarchy(), "pressure", QUOTA_BYTES) as (_, group),
        start_service(group, REDIS_URL=redis_server.url, **MARKS) as service,
    ):
        service.wait_until_connected()
        fill(service)
        wait_until(lambda: service.health()["memory"]["lastAction"], seconds=5, what="a cleanup")
        health = service.health()
        for number in range(SESSIONS):
            answer = service.http.get(f"/v1/sessions/chat-{number}/state/history")
            assert answer.content == VALUE
        log = service.log

    action = health["memory"]["lastAction"]
    assert action["tier"] == "standard"
    assert action["freedBytes"] > 0
    assert {lever["name"] for lever in action["levers"]} == {"evict", "collect", "malloc_trim"}
    assert health["memory"]["quota"] == QUOTA_BYTES
    assert health["memory"]["source"].startswith("cgroup")
    assert health["memory"]["peak"] < 0.85 * QUOTA_BYTES
    assert health["hotTier"]["evicted"] > 0
    assert re.search(r"⚠️ Memory usage high: [45]\d\.\d% \([34]\d MB\)", log)
    assert "🧹 Running standard memory cleanup..." in log
    assert re.search(r"Memory cleanup freed [1-9]\d+ bytes in [\d.]+ ms", log)


def test_the_emergency_tier_leaves_the_floor_and_no_answer_changes(redis_server: Server) -> None:
    # On request: whoever grows up to the mark by itself is held back before.
    with (
        memory_groups(find_hierarchy(), "emergency", QUOTA_BYTES) as (_, group),
        start_service(group, REDIS_URL=redis_server.url, **SMALL_REQUESTS) as service,
    ):
        service.wait_until_connected()
        fill(service)
        before = service.health()["hotTier"]
        answer = service.http.post("/v1/admin/relieve", json={"tier": "emergency"})
        after = service.health()
        for number in range(0, SESSIONS, 10):
            value = service.http.get(f"/v1/sessions/chat-{number}/state/history")
            assert value.content == VALUE
        log = service.log

    assert answer.status_code == 200
    assert before["bytes"] > 0.8 * before["budget"]
    assert after["hotTier"]["bytes"] <= 0.1 * before["budget"]
    action = after["memory"]["lastAction"]
    assert (action["tier"], action["requested"]) == ("emergency", True)
    assert {"evict", "close_listeners", "collect", "malloc_trim"} <= {
        lever["name"] for lever in action["levers"]
    }
    assert action["freedBytes"] > 0.5 * (before["bytes"] - after["hotTier"]["bytes"])
    assert "🚨 Memory usage critical! Running emergency cleanup..." in log


def test_without_the_switch_memory_is_measured_and_nothing_is_done(redis_server: Server) -> None:
    with (
        memory_groups(find_hierarchy(), "switched-off", QUOTA_BYTES) as (_, group),
        start_service(
            group, REDIS_URL=redis_server.url, ENABLE_MEMORY_OPTIMIZATION="false", **MARKS
        ) as service,
    ):
        service.wait_until_connected()
        fill(service)
        wait_until(lambda: service.lines("Memory usage high"), seconds=5, what="the warning")
        health = service.health()
        assert service.lines("cleanup") == []

    assert health["memoryOptimizationEnabled"] is False
    assert health["memory"]["lastAction"] is None
    assert health["memory"]["tier"] == "standard"
