"""How fast the libraries are in a bot's own process, beside our service over HTTP."""

import json
from collections import defaultdict
from collections.abc import Callable
from itertools import cycle
from statistics import median

from scripts.benchmark import generator
from scripts.benchmark.bookkeeping import LIBRARIES, run_library
from scripts.benchmark.calls import Operation, Peer, requests
from scripts.benchmark.figures import Table
from scripts.benchmark.stage import Stage

CONNECTIONS = 32
OPERATIONS = {"append": Operation.APPEND_ONE, "read": Operation.READ_HOT}

Rows = dict[tuple[str, str], list[dict[str, float]]]


def measure_libraries(
    stage: Stage, *, rounds: int, seconds: float, tell: Callable[[str], None]
) -> Table:
    """Let ours and the libraries take turns."""
    found: Rows = defaultdict(list)
    for what, operation in OPERATIONS.items():
        tell(f"libraries: {what}")
        for _ in range(rounds):
            found[what, "ours, over HTTP"].append(_ours(stage, operation, seconds))
            for name in LIBRARIES:
                told = run_library(name, stage.redis_port, what, CONNECTIONS, seconds)
                found[what, name].append(json.loads(told))
    return library_speed_table(found)


def _ours(stage: Stage, operation: Operation, seconds: float) -> dict[str, float]:
    prepared = cycle(requests(Peer.OURS, operation))
    sample = stage.sample(
        stage.peers[Peer.OURS],
        lambda port: generator.drive(port, prepared, connections=CONNECTIONS, seconds=seconds),
    )
    load = sample.load
    return {
        "requests": load.requests,
        "seconds": load.seconds,
        "p50_us": load.p50_us,
        "p99_us": load.p99_us,
        "cpu_us": sample.service_cpu_us,
    }


def library_speed_table(found: Rows) -> Table:
    """One row for each operation and library."""
    rows = []
    for (what, name), rounds in found.items():
        rows.append(
            (
                "append 1" if what == "append" else "read last 50",
                name,
                f"{median(it['requests'] / it['seconds'] for it in rounds):,.0f}",
                f"{median(it['p50_us'] for it in rounds) / 1e3:.2f}",
                f"{median(it['p99_us'] for it in rounds) / 1e3:.2f}",
                f"{median(it['cpu_us'] for it in rounds):.0f}",
            )
        )
    return Table(
        title="The libraries in a bot's own process",
        columns=("operation", "who", "per s", "p50 ms", "p99 ms", "CPU us"),
        rows=rows,
        note="32 at once; aiogram reads and writes 100 messages as one value of its state.",
    )
