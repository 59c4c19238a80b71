"""What several system tests share: a Redis of their own, and more than a hot tier may hold."""

from collections.abc import Iterator
from random import Random

import pytest

from tests.processes import Service
from tests.servers import Server, start_server

VALUE = Random(1).randbytes(65_536)  # it packs no smaller
RAW = {"Content-Type": "text/plain"}


@pytest.fixture
def redis_server() -> Iterator[Server]:
    with start_server("valkey") as server:
        yield server


def value_path(number: int) -> str:
    return f"/v1/sessions/chat-{number}/state/history"


def fill(service: Service, sessions: int) -> None:
    """Write more than the hot tier may hold, so that it is full."""
    for number in range(sessions):
        answer = service.http.put(value_path(number), content=VALUE, headers=RAW)
        assert answer.status_code in {201, 204}


def check_values(service: Service, numbers: range) -> None:
    """Check that no answer has changed."""
    for number in numbers:
        assert service.http.get(value_path(number)).content == VALUE
