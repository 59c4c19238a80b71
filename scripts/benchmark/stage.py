"""All that answers in one comparison: a Redis with data in it, the service, the peers."""

import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from redis import Redis

from scripts.benchmark import generator
from scripts.benchmark.calls import (
    MESSAGE,
    READ_SESSIONS,
    STATE_KEYS,
    Operation,
    Peer,
    append_body,
    request,
    requests,
    state_body,
)
from scripts.benchmark.cpu import TICK_SECONDS
from scripts.benchmark.figures import Load, Sample
from scripts.benchmark.generator import HOST
from scripts.benchmark.peers import recorded
from scripts.benchmark.processes import (
    Process,
    has_webdis,
    redis_url,
    running_peer,
    running_proxy,
    running_service,
    running_webdis,
)
from tests.servers import Server, start_server

HISTORY = 60
FILLERS = 16
ROUND_TRIPS = 500
TTL_SECONDS = 2_592_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The processes by their names, and the port at which they find Redis."""

    server: Server
    redis: Redis
    redis_port: int
    peers: dict[Peer, Process]

    def sample(self, process: Process, drive: Callable[[int], Load]) -> Sample:
        """Drive one process and measure what it and Redis used for it."""
        reads = self._reads()
        cpu, redis_cpu = process.cpu_seconds, self._redis_cpu()
        load = drive(process.port)
        # The kernel counts in ticks: what took less than one took one at most.
        cpu = max(process.cpu_seconds - cpu, TICK_SECONDS)
        redis_cpu = self._redis_cpu() - redis_cpu
        return Sample(
            load=load,
            service_cpu_us=cpu / load.requests * 1e6,
            redis_cpu_us=redis_cpu / load.requests * 1e6,
            redis_reads=(self._reads() - reads - 1) / load.requests,
        )

    def round_trip_us(self) -> float:
        """The middle of what one command takes from here and back, without a client library."""
        with socket.create_connection((HOST, self.redis_port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            latencies = []
            for _ in range(ROUND_TRIPS):
                started = time.perf_counter()
                connection.sendall(b"HMGET state:t1 key-1 key-2 key-3\r\n")
                connection.recv(4_096)
                latencies.append(time.perf_counter() - started)
        return median(latencies) * 1e6

    def _redis_cpu(self) -> float:
        return Process(port=self.server.port, pid=self.server.process.pid).cpu_seconds

    def _reads(self) -> int:
        """How often Redis has read from a socket: once for each pipeline that arrives."""
        return int(self.redis.info("stats")["total_reads_processed"])


@contextmanager
def filled_redis(cold_sessions: int) -> Iterator[Server]:
    """Run a Redis with the sessions that are read, for ours and for the lists of the others."""
    with start_server("valkey", "--maxclients", "2000") as server:
        with Redis.from_url(redis_url(server.port)) as redis:
            _fill_lists(redis, cold_sessions)
        with running_service(server.port) as service:
            generator.drive(service.port, _filling(cold_sessions), connections=FILLERS)
        yield server


@contextmanager
def stage(server: Server, *, delay_ms: float) -> Iterator[Stage]:
    """Start the service and all peers; `delay_ms` is that of the wire to Redis, one way."""
    with ExitStack() as stack:
        port = server.port
        if delay_ms:
            port = stack.enter_context(running_proxy(port, delay_ms)).port
        ours = stack.enter_context(running_service(port))
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "answers.json"
        recorded.save(file, record(ours.port))
        peers = {
            Peer.OURS: ours,
            Peer.STARLETTE: stack.enter_context(running_peer("bare_starlette", file)),
            Peer.UVICORN: stack.enter_context(running_peer("bare_uvicorn", file)),
            Peer.FASTAPI: stack.enter_context(running_peer("fastapi_service", redis_url(port))),
        }
        peers[Peer.PLAIN_FASTAPI] = peers[Peer.FASTAPI]
        if has_webdis():
            peers[Peer.WEBDIS] = stack.enter_context(running_webdis(port))
        redis = stack.enter_context(Redis.from_url(redis_url(server.port)))
        yield Stage(server=server, redis=redis, redis_port=port, peers=peers)


def record(port: int) -> dict[str, bytes]:
    """Ask for each operation once; a read twice, so that it is the answer of the hot tier."""
    answers = {}
    for operation in Operation:
        for one in islice(requests(Peer.OURS, operation, 1) * 2, 2):
            answers[operation.value] = generator.ask(port, one)
    return answers


def _filling(cold_sessions: int) -> Iterator[bytes]:
    """What is read: sessions with messages, the hot ones with state too."""
    names = [f"r{n}" for n in range(READ_SESSIONS)] + [f"c{n}" for n in range(cold_sessions)]
    for name in names:
        yield request("POST", f"/v1/sessions/{name}/messages", append_body(HISTORY))
    for n in range(READ_SESSIONS):
        for prefix in "rt":
            yield request("POST", f"/v1/sessions/{prefix}{n}/state", state_body(STATE_KEYS))


def _fill_lists(redis: Redis, cold_sessions: int) -> None:
    names = [f"r{n}" for n in range(READ_SESSIONS)] + [f"c{n}" for n in range(cold_sessions)]
    state = json.loads(state_body(STATE_KEYS))["set"]
    values = {key: json.dumps(value) for key, value in state.items()}
    with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.rpush(f"chat:{name}", *[MESSAGE] * HISTORY)
            pipe.expire(f"chat:{name}", TTL_SECONDS)
        for n in range(READ_SESSIONS):
            pipe.hset(f"state:r{n}", mapping=values)
            pipe.hset(f"state:t{n}", mapping=values)
        pipe.execute()
