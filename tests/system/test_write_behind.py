"""Writes that wait, in real processes: ended, killed, and their Redis killed."""

from collections.abc import Iterator

import httpx
import pytest

from tests.processes import ORDERLY, Service, start_service, wait_until
from tests.servers import Server, start_server

ASYNC = {"Prefer": "respond-async"}
SESSIONS = ("a", "b", "c")


@pytest.fixture
def kept_server() -> Iterator[Server]:
    """Run a server that has on its disk what it has answered."""
    with start_server("valkey", "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
def service(kept_server: Server) -> Iterator[Service]:
    with start_service(REDIS_URL=kept_server.url) as service:
        service.wait_until_connected()
        yield service


def say(service: Service, session: str, number: int) -> None:
    body = {"messages": [{"n": number}]}
    url = f"/v1/sessions/{session}/messages"
    answer = service.http.post(url, json=body, headers=ASYNC)
    assert (answer.status_code, answer.headers["Durability"]) == (202, "memory")


def told(http: httpx.Client, session: str) -> list[int]:
    page = http.get(f"/v1/sessions/{session}/messages?last=1000").json()
    return [each["message"]["n"] for each in page["messages"]]


def waits(service: Service) -> int:
    return int(service.health()["hotTier"]["journalBytes"])


def test_what_waits_at_the_signal_is_written_before_the_end(
    kept_server: Server, service: Service
) -> None:
    kept_server.pause()
    for number in range(30):
        say(service, SESSIONS[number % 3], number)
    assert waits(service)
    service.terminate()
    wait_until(lambda: not service.is_answering(), seconds=3, what="a closed port")
    kept_server.resume()

    assert service.wait(seconds=5) in ORDERLY
    assert not service.lines("not written")
    assert "Traceback" not in service.log
    service.restart().wait_until_connected()
    for first, session in enumerate(SESSIONS):
        assert told(service.http, session) == list(range(first, 30, 3))


def test_a_kill_of_the_process_loses_what_waits(kept_server: Server, service: Service) -> None:
    """The control: this is what `Durability: memory` says."""
    say(service, "a", 1)
    wait_until(lambda: not waits(service), seconds=3, what="an empty journal")
    kept_server.kill()
    say(service, "a", 2)
    service.kill()
    kept_server.restart()
    service.restart().wait_until_connected()

    assert told(service.http, "a") == [1]


def test_a_kill_of_redis_loses_and_doubles_nothing_of_what_was_taken(
    kept_server: Server, service: Service
) -> None:
    taken = 180
    for number in range(taken):
        say(service, SESSIONS[number % 3], number)
        if number % 60 == 20:
            kept_server.kill()  # in the middle of what is being written
        if number % 60 == 40:
            assert waits(service)
            kept_server.restart()
    wait_until(lambda: not waits(service), seconds=5, what="an empty journal")

    counters = service.health()["counters"]
    assert (counters["journalWritten"], counters["journalRefused"]) == (taken, 0)
    for first, session in enumerate(SESSIONS):
        assert told(service.http, session) == list(range(first, taken, 3))
