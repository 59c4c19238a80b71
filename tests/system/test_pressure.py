"""A service whose memory runs short lets go of what Redis has, says so, and forgets nothing."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.memory.listeners import IDLE_SECONDS
from tests.memory_groups import SMALL_REQUESTS, find_hierarchy, memory_groups
from tests.processes import Service, start_service, wait_until
from tests.servers import HOST, Server
from tests.system.conftest import RAW, VALUE, check_values, fill

MIB = 1_048_576
QUOTA_BYTES = 80 * MIB
# 34 MB are the interpreter's, and 12 MB the hot tier's: 57 % when that is full.
MARKS = {"MEMORY_STANDARD_PERCENT": "50", "MEMORY_EMERGENCY_PERCENT": "85"} | SMALL_REQUESTS
SESSIONS = 500


def test_the_standard_tier_evicts_and_no_answer_changes(redis_server: Server) -> None:
    with (
        memory_groups(find_hierarchy(), "pressure", QUOTA_BYTES) as (_, group),
        start_service(group, REDIS_URL=redis_server.url, **MARKS) as service,
    ):
        service.wait_until_connected()
        fill(service, SESSIONS)
        wait_until(lambda: service.health()["memory"]["lastAction"], seconds=5, what="a cleanup")
        health = service.health()
        check_values(service, range(SESSIONS))
        log = service.log

    action = health["memory"]["lastAction"]
    assert action["tier"] == "standard"
    assert action["freedBytes"] > 0
    names = {lever["name"] for lever in action["levers"]}
    assert names == {"offload", "evict", "collect", "malloc_trim"}
    assert health["memory"]["quota"] == QUOTA_BYTES
    assert health["memory"]["source"].startswith("cgroup")
    assert health["memory"]["peak"] < 0.85 * QUOTA_BYTES
    assert health["hotTier"]["evicted"] > 0
    assert re.search(r"⚠️ Memory usage high: [4-7]\d\.\d% \([3-6]\d MB\)", log)
    assert "🧹 Running standard memory cleanup..." in log
    assert re.search(r"Memory cleanup freed [1-9]\d+ bytes in [\d.]+ ms", log)


def test_the_emergency_tier_leaves_the_floor_and_no_answer_changes(redis_server: Server) -> None:
    # On request: whoever grows up to the mark by itself is held back before.
    with (
        memory_groups(find_hierarchy(), "emergency", QUOTA_BYTES) as (_, group),
        start_service(group, REDIS_URL=redis_server.url, **SMALL_REQUESTS) as service,
    ):
        service.wait_until_connected()
        fill(service, SESSIONS)
        before = service.health()["hotTier"]
        answer = service.http.post("/v1/admin/relieve", json={"tier": "emergency"})
        after = service.health()
        check_values(service, range(0, SESSIONS, 10))
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


@contextmanager
def slow_reader(service: Service) -> Iterator[None]:
    """Ask for more than the kernel takes in one go, and take nothing of it."""
    service.wait_until_connected()
    for number in range(10):
        path = f"/v1/sessions/large/state/{number}"
        assert service.http.put(path, content=VALUE, headers=RAW).status_code == 201
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        reader.connect((HOST, service.port))
        reader.sendall(b"GET /v1/sessions/large?include=state HTTP/1.1\r\nHost: b\r\n\r\n")
        yield


def test_an_emergency_hangs_up_on_who_takes_nothing(redis_server: Server) -> None:
    with start_service(REDIS_URL=redis_server.url) as service, slow_reader(service):

        def listeners() -> dict[str, Any]:
            told: dict[str, Any] = service.health()["memory"]["listeners"]
            return told

        wait_until(lambda: listeners()["kinds"] == {"slow_reader": 1}, seconds=5, what="a reader")
        idle = IDLE_SECONDS + 0.5  # told rounded
        wait_until(lambda: listeners()["oldestSeconds"] > idle, seconds=10, what="its idleness")
        held = service.health()["memory"]["admission"]["held"]
        service.http.post("/v1/admin/relieve", json={"tier": "standard"})
        assert listeners()["closed"] == 0
        action = service.http.post("/v1/admin/relieve", json={"tier": "emergency"}).json()
        after = service.health()["memory"]

    assert held > 10 * len(VALUE)
    closing = next(each for each in action["levers"] if each["name"] == "close_listeners")
    assert closing["freedBytes"] > 0
    assert (after["listeners"]["count"], after["listeners"]["closed"]) == (0, 1)
    assert after["admission"]["held"] < held / 10


def test_without_the_switch_memory_is_measured_and_nothing_is_done(redis_server: Server) -> None:
    with (
        memory_groups(find_hierarchy(), "switched-off", QUOTA_BYTES) as (_, group),
        start_service(
            group, REDIS_URL=redis_server.url, ENABLE_MEMORY_OPTIMIZATION="false", **MARKS
        ) as service,
    ):
        service.wait_until_connected()
        fill(service, SESSIONS)
        wait_until(lambda: service.lines("Memory usage high"), seconds=5, what="the warning")
        health = service.health()
        assert service.lines("cleanup") == []

    assert health["memoryOptimizationEnabled"] is False
    assert health["memory"]["lastAction"] is None
    assert health["memory"]["tier"] == "standard"
