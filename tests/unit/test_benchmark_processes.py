import sys

import pytest
from redis import Redis

from scripts.benchmark.corpus import even, histories
from scripts.benchmark.figures import BenchmarkError
from scripts.benchmark.processes import is_listening, is_service_ready, module, running
from scripts.benchmark.redis_bytes import Patience, emptied, fill_lists
from tests.servers import free_port, start_server

LISTEN = "import socket, sys, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(60)"
AT_ONCE = Patience(settle_seconds=0.0, quiet_seconds=0.0)


def test_a_program_is_there_in_the_block_and_gone_after_it() -> None:
    port = free_port()
    with running([sys.executable, "-c", LISTEN.format(port=port)], port) as process:
        assert is_listening(port)
        assert process.cpu_seconds >= 0
    assert not is_listening(port)


def test_a_program_that_ends_says_why() -> None:
    with (
        pytest.raises(BenchmarkError, match="no such thing"),
        running([sys.executable, "-c", "raise SystemExit('no such thing')"], free_port()),
    ):
        pass


def test_a_stranger_is_not_the_service() -> None:
    assert not is_service_ready(free_port())


def test_a_module_is_run_by_the_same_python() -> None:
    assert module("service", 1) == [sys.executable, "-m", "service", "1"]


def test_lists_are_weighed_from_an_empty_redis() -> None:
    shape = even(50, 100)
    lines = [b'{"text":"%s"}' % (b"x" * 87)]
    with start_server("valkey") as server, Redis.from_url(server.url) as redis:
        redis.set("before", "x" * 1_000_000)
        scale = emptied(redis, AT_ONCE)
        assert redis.dbsize() == 0
        fill_lists(redis, histories(shape, lines), 60)
        weight = scale.weigh_idle(AT_ONCE)
        ttl_seconds = redis.ttl(f"chat:{shape.sessions[0]}")
    assert 1.0 < weight.at_once / (100 * shape.messages) < 1.3
    assert 0 < ttl_seconds <= 60
