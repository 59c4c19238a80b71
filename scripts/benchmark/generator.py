"""A load generator: prepared requests over kept connections, one in flight on each.

It takes about 10 us a request on one core; a service in Python takes more on another.
"""

import gc
import select
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from scripts.benchmark.figures import BenchmarkError, Load

HOST = "127.0.0.1"
SILENT_SECONDS = 20.0
READ_BYTES = 1 << 20
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"


@dataclass(slots=True, eq=False)
class Connection:
    """A connection and the answer that it waits for."""

    socket: socket.socket
    sent_at: float = 0.0
    answer: bytes = b""

    def send(self, request: bytes) -> None:
        """Send the next request."""
        self.answer = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def is_answered(self) -> bool:
        """Read what has come; say whether the answer is complete."""
        read = self.socket.recv(READ_BYTES)
        if not read:
            raise BenchmarkError("a connection was closed in the middle of an answer")
        self.answer = self.answer + read if self.answer else read
        return is_complete(self.answer)


def is_complete(answer: bytes) -> bool:
    """Whether an answer is all there; one without a length has no body."""
    end = answer.find(HEAD_END)
    if end < 0:
        return False
    head = answer[:end].lower()
    start = head.find(LENGTH)
    if start < 0:
        return True
    length = int(head[start + len(LENGTH) :].split(b"\r", 1)[0])
    return len(answer) - end - len(HEAD_END) >= length


def ask(port: int, request: bytes) -> bytes:
    """Send one request on a connection of its own; return the whole answer, whatever its status."""
    with socket.create_connection((HOST, port), SILENT_SECONDS) as open_socket:
        connection = Connection(open_socket)
        connection.send(request)
        while not connection.is_answered():
            pass
        return connection.answer


def drive(
    port: int, requests: Iterable[bytes], *, connections: int, seconds: float | None = None
) -> Load:
    """Send the requests, for so long or to their end. Raises BenchmarkError if one is no 2xx."""
    with ExitStack() as stack:
        epoll = stack.enter_context(select.epoll())
        stack.enter_context(_no_collections())
        by_number = {}
        for _ in range(connections):
            opened = stack.enter_context(socket.create_connection((HOST, port)))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            epoll.register(opened, select.EPOLLIN)
            by_number[opened.fileno()] = Connection(opened)
        started = time.perf_counter()
        source = _until(iter(requests), started + seconds if seconds else None)
        latencies = _run(epoll, by_number, source)
        return summarise(latencies, time.perf_counter() - started)


def _run(
    epoll: select.epoll, connections: dict[int, Connection], source: Iterator[bytes]
) -> list[float]:
    latencies: list[float] = []
    busy = sum(_send_next(connection, source) for connection in connections.values())
    while busy:
        events = epoll.poll(SILENT_SECONDS)
        if not events:
            raise BenchmarkError(f"no answer for {SILENT_SECONDS:.0f} s")
        for number, _ in events:
            connection = connections[number]
            if not connection.is_answered():
                continue
            latencies.append(time.perf_counter() - connection.sent_at)
            if not connection.answer.startswith(b"2", 9):
                raise BenchmarkError(f"an answer that is no 2xx: {connection.answer[:400]!r}")
            busy -= not _send_next(connection, source)
    return latencies


def _send_next(connection: Connection, source: Iterator[bytes]) -> bool:
    request = next(source, None)
    if request is not None:
        connection.send(request)
    return request is not None


def _until(source: Iterator[bytes], deadline: float | None) -> Iterator[bytes]:
    if deadline is None:
        return source
    return iter(lambda: next(source, None) if time.perf_counter() < deadline else None, None)


def summarise(latencies: list[float], seconds: float) -> Load:
    """Sum up latencies in seconds."""
    if not latencies:
        raise BenchmarkError("nothing was answered")
    ordered = sorted(latencies)
    return Load(
        requests=len(ordered),
        seconds=seconds,
        p50_us=ordered[len(ordered) // 2] * 1e6,
        p99_us=ordered[len(ordered) * 99 // 100] * 1e6,
        slowest_us=ordered[-1] * 1e6,
    )


@contextmanager
def _no_collections() -> Iterator[None]:
    """A pause of our own collector would show as the service's p99."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
