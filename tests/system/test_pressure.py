"""A service whose memory runs short lets go of what Redis has, says so, and forgets nothing."""

import re
from collections.abc import Iterator

import pytest

from tests.processes import Service, start_service, wait_until
from tests.servers import Server, start_server

QUOTA_MB = 90
# The interpreter's share of 90 MB depends on what else shares its pages: 41 to 52 %. The hot tier
# may hold 25 % on top of that.
PRESSURE = {
    "MEMORY_QUOTA_MB": str(QUOTA_MB),
    "MEMORY_STANDARD_PERCENT": "60",
    "MEMORY_EMERGENCY_PERCENT": "90",
}
SESSIONS = 500
VALUE = b"x" * 65_536


@pytest.fixture(scope="module")
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
    with start_service(REDIS_URL=redis_server.url, **PRESSURE) as service:
        service.wait_until_connected()
        fill(service)
        wait_until(lambda: service.health()["memory"]["lastAction"], seconds=5, what="a cleanup")
        health = service.health()
        for number in range(SESSIONS):
            answer = service.http.get(f"/v1/sessions/chat-{number}/state/history")
            assert answer.content == VALUE

    action = health["memory"]["lastAction"]
    assert action["tier"] == "standard"
    assert action["freedBytes"] > 0
    assert {lever["name"] for lever in action["levers"]} == {"evict", "collect", "malloc_trim"}
    assert health["memory"]["quota"] == QUOTA_MB * 1_048_576
    assert health["memory"]["peak"] < 0.9 * health["memory"]["quota"]
    assert health["hotTier"]["evicted"] > 0
    assert re.search(r"⚠️ Memory usage high: 6\d\.\d% \(5\d MB\)", service.log)
    assert "🧹 Running standard memory cleanup..." in service.log
    assert re.search(r"Memory cleanup freed [1-9]\d+ bytes in [\d.]+ ms", service.log)


def test_without_the_switch_memory_is_measured_and_nothing_is_done(redis_server: Server) -> None:
    with start_service(
        REDIS_URL=redis_server.url, ENABLE_MEMORY_OPTIMIZATION="false", **PRESSURE
    ) as service:
        service.wait_until_connected()
        fill(service)
        wait_until(lambda: service.lines("Memory usage high"), seconds=5, what="the warning")
        health = service.health()

    assert health["memoryOptimizationEnabled"] is False
    assert health["memory"]["lastAction"] is None
    assert health["memory"]["tier"] == "standard"
    assert service.lines("cleanup") == []
