"""How cost grows: the main figures of one shape of history, measured while Redis holds it."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

from redis import Redis

from scripts.benchmark import generator
from scripts.benchmark.calls import append_body, request
from scripts.benchmark.corpus import Shape
from scripts.benchmark.figures import Load, Sample
from scripts.benchmark.processes import running_service
from scripts.benchmark.stage import Stage
from tests.servers import Server

CONNECTIONS = 32
MOST_COLD = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A shape's cost: appending one, reading the last 50 hot and cold."""

    shape: Shape
    append: Sample
    hot: Sample
    cold: Sample


def measure_growth(server: Server, redis: Redis, shape: Shape, seconds: float) -> Growth:
    """Measure on a Redis that holds the shape; the appends come last, as they change it."""
    appends = [
        request("POST", f"/v1/sessions/{name}/messages", append_body(1)) for name in shape.sessions
    ]
    reads = [
        request("GET", f"/v1/sessions/{name}/messages?last=50")
        for name in shape.sessions[-MOST_COLD:]
    ]
    with running_service(server.port, MAX_MESSAGES=str(10 * max(shape.lengths))) as fresh:
        stage = Stage(server=server, redis=redis, redis_port=server.port, peers={})

        def sample(drive: Callable[[int], Load]) -> Sample:
            return stage.sample(fresh, drive)

        cold = sample(lambda port: generator.drive(port, reads, connections=CONNECTIONS))
        hot = sample(lambda port: _driven(port, reads, seconds))
        append = sample(lambda port: _driven(port, appends, seconds))
    return Growth(shape=shape, append=append, hot=hot, cold=cold)


def _driven(port: int, prepared: list[bytes], seconds: float) -> Load:
    return generator.drive(port, cycle(prepared), connections=CONNECTIONS, seconds=seconds)
