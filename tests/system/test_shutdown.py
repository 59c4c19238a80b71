"""SIGTERM: finish what was begun, take nothing new, and be gone in time."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import httpx
import pytest

from tests.processes import ORDERLY, Service, start_service, wait_until
from tests.servers import HOST, Server
from tests.uploads import BODY, END_SECONDS, SlowUpload, wait_for_requests


@pytest.fixture
def service(redis_server: Server) -> Iterator[Service]:
    with start_service(REDIS_URL=redis_server.url) as service:
        service.wait_until_connected()
        yield service


def is_refusing(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection((HOST, port), 1):
        return False
    return True


def test_an_idle_service_ends_at_once(service: Service) -> None:
    service.terminate()

    assert service.wait(seconds=3) in ORDERLY
    assert "Traceback" not in service.log


def test_an_interrupt_ends_it_too(service: Service) -> None:
    service.process.send_signal(signal.SIGINT)

    assert service.wait(seconds=3) in {0, -signal.SIGINT}
    assert "Traceback" not in service.log


def test_a_request_in_progress_is_finished_and_new_ones_are_refused(service: Service) -> None:
    with closing(SlowUpload(service)) as upload:
        service.terminate()
        wait_until(lambda: is_refusing(service.port), seconds=3, what="a closed port")
        service.terminate()  # a platform may ask several times
        upload.drip()
        answer = upload.finish()

    assert answer.startswith(b"HTTP/1.1 201")
    assert service.wait(seconds=5) in ORDERLY
    service.restart()
    page = service.http.get("/v1/sessions/slow/messages").json()
    assert [each["message"] for each in page["messages"]] == [{"text": "slow"}]


def test_neither_a_request_that_never_ends_nor_what_waits_for_redis_holds_it(
    redis_server: Server, service: Service
) -> None:
    redis_server.kill()
    for _ in range(3):
        path, preference = "/v1/sessions/a/messages", {"Prefer": "respond-async"}
        assert service.http.post(path, content=BODY, headers=preference).status_code == 202
    with closing(SlowUpload(service)) as upload:
        service.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            service.wait(seconds=2)
        upload.drip()

        assert service.wait(seconds=END_SECONDS - 2) in ORDERLY
        assert upload.answer() == b""
    assert service.lines("1 connections did not end in time")
    assert re.search(r" 3 journal entries \([0-9]+ bytes\) not written\n", service.log)
    assert "Traceback" not in service.log


def test_who_waits_for_a_lease_is_sent_to_another_process(service: Service) -> None:
    url = f"http://{HOST}:{service.port}/v1/sessions/a/lease"
    assert httpx.post(url).status_code == 201
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(httpx.post, url, json={"wait": 20}, timeout=25) for _ in range(4)]
        wait_for_requests(service, 4)
        service.terminate()
        answers = [each.result(timeout=3) for each in waiting]

    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["code"] for answer in answers} == {"stopping"}
    assert service.wait(seconds=3) in ORDERLY
    assert "Traceback" not in service.log


def test_it_ends_in_time_with_a_frozen_redis_and_open_requests(
    redis_server: Server, service: Service
) -> None:
    redis_server.pause()
    with ThreadPoolExecutor(8) as pool:
        answers = [
            pool.submit(httpx.put, f"http://{HOST}:{service.port}/v1/sessions/{n}", json={})
            for n in range(8)
        ]
        wait_for_requests(service, 8)
        service.terminate()
        code = service.wait(seconds=5)

        assert code in ORDERLY
        assert {answer.result().status_code for answer in answers} == {503}


def test_it_ends_in_time_without_redis(redis_server: Server, service: Service) -> None:
    redis_server.kill()
    wait_until(lambda: not service.health()["databaseConnected"], seconds=5, what="an outage")
    service.terminate()

    assert service.wait(seconds=3) in ORDERLY


def polls_around_the_end(service: Service) -> list[tuple[int, int]]:
    """Ask over one connection until it is closed: the status of /health/ready and of /v1."""
    seen = []
    with suppress(httpx.TransportError):
        service.terminate()
        while True:
            ready = service.http.get("/health/ready").status_code
            seen.append((ready, service.http.get("/v1/sessions/none").status_code))
    return seen


def test_while_it_drains_it_is_not_ready_and_takes_no_calls(service: Service) -> None:
    # The time between the signal and the closed port is up to 0.1 s: too short to be seen always.
    seen: list[tuple[int, int]] = []
    for _ in range(5):
        seen = polls_around_the_end(service)
        assert service.wait(seconds=3) in ORDERLY
        if (503, 503) in seen:
            break
        service.restart().wait_until_connected()

    assert (503, 503) in seen
    draining = seen[seen.index((503, 503)) :]
    assert set(draining) == {(503, 503)}
