import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat

import pytest

from scripts.benchmark import wrk
from scripts.benchmark.figures import BenchmarkError
from scripts.benchmark.generator import HOST, ask, drive, is_complete, summarise

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def answering(answer: bytes, *, pieces: int = 1) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives the same answer to whatever comes, in so many pieces."""
    received: list[bytes] = []
    with socket.create_server((HOST, 0)) as listening:

        def serve(connection: socket.socket) -> None:
            with connection:
                while request := connection.recv(65_536):
                    received.append(request)
                    size = -(-len(answer) // pieces) or 1
                    for start in range(0, len(answer), size):
                        connection.sendall(answer[start : start + size])
                    if not answer:
                        return

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,)).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listening.getsockname()[1], received
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("answer", "complete"),
    [
        (b"HTTP/1.1 200 OK\r\n", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (ANSWER[:-1], False),
        (ANSWER, True),
        (ANSWER.replace(b"Content-Length", b"content-length"), True),
    ],
)
def test_an_answer_is_complete_with_its_last_byte(answer: bytes, complete: bool) -> None:  # noqa: FBT001
    assert is_complete(answer) is complete


def test_each_request_is_sent_once_and_counted() -> None:
    with answering(ANSWER) as (port, received):
        load = drive(port, [b"request-%d" % n for n in range(20)], connections=3)
    assert load.requests == 20
    assert sorted(received) == sorted(b"request-%d" % n for n in range(20))
    assert 0 < load.p50_us <= load.p99_us <= load.slowest_us


def test_an_answer_may_come_in_pieces() -> None:
    with answering(ANSWER, pieces=4) as (port, _):
        assert ask(port, b"x") == ANSWER


def test_it_ends_with_its_time() -> None:
    with answering(ANSWER) as (port, _):
        load = drive(port, repeat(b"x"), connections=2, seconds=0.05)
    assert load.requests > 0
    assert load.seconds >= 0.05


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ANSWER.replace(b"200", b"503"), "no 2xx"),
        (b"", "closed"),
    ],
)
def test_what_does_not_count_is_an_error(answer: bytes, words: str) -> None:
    with answering(answer) as (port, _), pytest.raises(BenchmarkError, match=words):
        drive(port, [b"x"], connections=1)


def test_nothing_answered_is_an_error() -> None:
    with pytest.raises(BenchmarkError, match="nothing"):
        summarise([], 1.0)


def test_the_middle_and_the_tail_are_of_the_sorted_latencies() -> None:
    load = summarise([n / 1e6 for n in range(100, 0, -1)], 1.0)
    assert (round(load.p50_us), round(load.p99_us), round(load.slowest_us)) == (51, 100, 100)


LINE = '{"requests": 3, "seconds": 1, "p50_us": 1, "p99_us": 2, "slowest_us": 3, "errors": %d}'


def test_the_last_line_of_wrk_is_the_load() -> None:
    assert wrk.read_output("Running 1s test\n" + LINE % 0).requests == 3


@pytest.mark.parametrize("output", ["", LINE % 1, (LINE % 0).replace("3", "0")])
def test_errors_of_wrk_are_errors(output: str) -> None:
    with pytest.raises(BenchmarkError):
        wrk.read_output(output)
