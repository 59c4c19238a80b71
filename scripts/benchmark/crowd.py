"""A crowd at a small Redis: 64 clients of a service whose Redis takes 20 connections."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle

from redis import Redis

from scripts.benchmark import generator, targets
from scripts.benchmark.calls import Operation, Peer, requests
from scripts.benchmark.figures import BenchmarkError, Figure, Findings, Table
from scripts.benchmark.processes import Process, redis_url, running_peer, running_service
from tests.servers import start_server

CLIENTS = 64
MAX_CLIENTS = "20"
SAMPLE_SECONDS = 0.05


def crowd_findings(seconds: float) -> Findings:
    """Measure the crowd, ours and the usual service's."""
    connections, slowest = measure_crowd(seconds)
    figures = [
        Figure(
            name="connections to Redis at 64 clients",
            values=[connections],
            unit="",
            target=targets.CONNECTIONS,
        ),
        Figure(
            name="slowest answer at 64 clients, maxclients 20",
            values=[slowest],
            unit="s",
            target=targets.SLOWEST_SECONDS,
        ),
    ]
    control = ("FastAPI + redis", measure_control(seconds))
    rows = [("ours", f"slowest {slowest:.2f} s, {connections} connections"), control]
    title = "64 clients where Redis takes 20 connections"
    return Findings(
        figures=figures, tables=[Table(title=title, columns=("who", "what"), rows=rows)]
    )


def measure_crowd(seconds: float) -> tuple[int, float]:
    """Return the most connections that the service had, and its slowest answer in seconds."""
    with (
        start_server("valkey", "--maxclients", MAX_CLIENTS) as server,
        running_service(server.port) as service,
        _counting(server.port) as most,
    ):
        slowest = _slowest_seconds(service, Peer.OURS, seconds)
    return max(most), slowest


def measure_control(seconds: float) -> str:
    """Say what the usual service does in the same place: the crowd must be one."""
    with start_server("valkey", "--maxclients", MAX_CLIENTS) as server:
        return _control(server.port, seconds)


def _control(redis_port: int, seconds: float) -> str:
    with running_peer("fastapi_service", redis_url(redis_port)) as process:
        try:
            return f"slowest {_slowest_seconds(process, Peer.FASTAPI, seconds):.2f} s"
        except BenchmarkError as error:
            return f"fails: {str(error)[:60]}"


def _slowest_seconds(process: Process, peer: Peer, seconds: float) -> float:
    prepared = requests(peer, Operation.APPEND_ONE)
    load = generator.drive(process.port, cycle(prepared), connections=CLIENTS, seconds=seconds)
    return load.slowest_us / 1e6


@contextmanager
def _counting(redis_port: int) -> Iterator[list[int]]:
    """Count the clients of Redis but ourselves, again and again."""
    counts = [0]
    is_over = threading.Event()

    def count() -> None:
        with Redis.from_url(redis_url(redis_port)) as redis:
            while not is_over.wait(SAMPLE_SECONDS):
                counts.append(int(redis.info("clients")["connected_clients"]) - 1)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield counts
    finally:
        is_over.set()
        thread.join()
