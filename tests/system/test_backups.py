"""The first Redis loses everything; the second gives the state back, byte for byte."""

import time
from collections.abc import Iterator

import pytest
from redis import Redis

from tests.processes import ORDERLY, Service, start_service, wait_until
from tests.servers import Server, start_server

LOGIN = "/v1/sessions/login"
VALUES = {
    "creds": ("application/json", b'{"me" :{"id":1.0, "big":123456789012345678901234567890}}'),
    "pretty": ("application/json", b'{\r\n  "a": "\\u00e9\\n", "a": 2\n}\n'),
    "looks-raw": ("application/json; charset=utf-8", b'{"$raw":"AAEC","type":"image/png"}'),
    "picture": ("image/png", bytes(range(256)) * 20),
    "a/b%{}": ("application/x-empty", b""),
}


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    with start_server("valkey") as first, start_server("valkey") as second:
        yield first, second


def of(first: Server, second: Server) -> dict[str, str]:
    """Settings of a service that plays nothing again: copies are all that is left."""
    return {"REDIS_URL": first.url, "BACKUP_REDIS_URL": second.url, "REPLAY_MAX_MB": "0"}


def path_of(key: str) -> str:
    return f"{LOGIN}/state/{key.replace('%', '%25').replace('/', '%2F')}"


def write(service: Service) -> None:
    for key, (media_type, data) in VALUES.items():
        headers = {"Content-Type": media_type}
        assert service.http.put(path_of(key), content=data, headers=headers).status_code == 201
    assert service.http.put(LOGIN, json={"ttl": None, "max_messages": 7}).status_code == 200


def check(service: Service) -> None:
    for key, (media_type, data) in VALUES.items():
        answer = service.http.get(path_of(key))
        assert (answer.content, answer.headers["Content-Type"]) == (data, media_type)
    session = service.http.get(LOGIN).json()
    assert (session["ttl"], session["max_messages"]) == (None, 7)


def test_state_is_restored_after_redis_has_lost_everything(
    servers: tuple[Server, Server],
) -> None:
    first, second = servers
    with start_service(**of(first, second)) as service:
        service.wait_until_connected()
        write(service)
        service.terminate()  # which does not wait for the copy to be due
        assert service.wait() in ORDERLY
        service.restart()
        service.wait_until_connected()
        with Redis.from_url(first.url) as redis:
            redis.flushall()
        wait_until(lambda: service.http.get(LOGIN).json().get("backup"), seconds=5, what="an offer")
        missing = service.http.get(LOGIN)
        told = service.http.get(f"{LOGIN}/backup").json()
        restored = service.http.post(f"{LOGIN}/restore")
        check(service)
        again = service.http.post(f"{LOGIN}/restore")
        log = service.log

    assert (missing.status_code, told["keys"]) == (404, len(VALUES))
    assert (restored.status_code, again.status_code) == (201, 409)
    assert "no backup" not in log


def test_copies_are_made_by_themselves_a_few_seconds_after_the_last_write(
    servers: tuple[Server, Server],
) -> None:
    first, second = servers
    with start_service(**of(first, second)) as service:
        service.wait_until_connected()
        write(service)
        written_at = time.monotonic()
        wait_until(
            lambda: service.health()["counters"]["backupsWritten"], seconds=15, what="a copy"
        )
        assert time.monotonic() - written_at >= 4
        with Redis.from_url(first.url) as redis:
            redis.flushall()
        assert service.http.post(f"{LOGIN}/restore").status_code == 201
        check(service)
        service.terminate()
        assert service.wait() in ORDERLY
