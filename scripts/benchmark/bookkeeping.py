"""What is remembered beside the messages, logins, and what libraries take for the same lines."""

import subprocess
from collections.abc import Callable

from redis import Redis

from scripts.benchmark import targets
from scripts.benchmark.corpus import Chat, even, histories
from scripts.benchmark.density import (
    TTL_SECONDS,
    Filler,
    dedupe_bytes,
    keyed_call_bytes,
    warm,
    weigh_logins,
)
from scripts.benchmark.figures import BenchmarkError, Figure, Findings, Table
from scripts.benchmark.processes import ROOT, WEIGHED, module, redis_url, running_service
from scripts.benchmark.redis_bytes import emptied, fill_lists
from scripts.benchmark.size import Size
from tests.servers import start_server

LIBRARIES = ("openai-agents", "langchain-community", "aiogram")
MESSAGES = 100
"""That scripts.benchmark.peers.libraries gives each session."""

Tell = Callable[[str], None]


def measure_bookkeeping(chat: Chat, *, size: Size, scale: int, tell: Tell) -> Findings:
    """Weigh everything on one Redis."""
    with (
        start_server("valkey", "--maxclients", "2000") as server,
        running_service(server.port, **WEIGHED) as service,
        Redis.from_url(redis_url(server.port)) as redis,
    ):
        filler = Filler(redis=redis, port=service.port, patience=size.patience)
        warm(filler)
        tell("remembered messages and calls")
        dedupe = dedupe_bytes(filler, max(10, 200 // scale))
        keyed = keyed_call_bytes(filler, max(50, 1_000 // scale))
        tell("logins")
        logins = max(1, 50 // scale)
        ours, hashes = weigh_logins(filler, logins)
        tables = []
        if size.has_libraries:
            tell("the layouts of the libraries")
            tables.append(library_table(filler, server.port, chat, max(1, 200 // scale)))
    figures = _figures(dedupe, keyed, ours.idle / hashes)
    return Findings(figures=figures, tables=tables, model={"login.bytes": ours.idle / logins})


def _figures(dedupe: float, keyed: float, login: float) -> list[Figure]:
    return [
        Figure(
            name="dedupe: bytes in Redis a remembered message",
            values=[dedupe],
            unit="B",
            target=targets.DEDUPE_BYTES,
        ),
        Figure(
            name="idempotency: bytes in Redis a remembered call",
            values=[keyed],
            unit="B",
            target=targets.KEYED_CALL_BYTES,
        ),
        Figure(
            name="a WhatsApp login: bytes in Redis / HASH of the raw values",
            values=[login],
            unit="x",
        ),
    ]


def library_table(filler: Filler, port: int, chat: Chat, sessions: int) -> Table:
    """Fill each library's own layout with the same lines, and a list of JSON."""
    scale = emptied(filler.redis, filler.patience)
    fill_lists(filler.redis, histories(even(sessions, MESSAGES), chat.lines), TTL_SECONDS)
    weights = {"list of JSON": scale.weigh()}
    for name in LIBRARIES:
        scale = emptied(filler.redis, filler.patience)
        run_library(name, port, "append", 1, 0, fill=sessions, lines=chat.lines)
        weights[name] = scale.weigh()
    rows = [
        (name, f"{weight / sessions / MESSAGES:.1f}", f"{weight / weights['list of JSON']:.2f}")
        for name, weight in weights.items()
    ]
    return Table(
        title=f"Bytes in Redis of the libraries, {sessions} x {MESSAGES}",
        columns=("layout", "B a message", "of a list of JSON"),
        rows=rows,
    )


def run_library(  # noqa: PLR0913 # they are the child's command line
    name: str,
    port: int,
    what: str,
    connections: int,
    seconds: float,
    *,
    fill: int = 0,
    lines: list[bytes] | None = None,
) -> str:
    """Run a library in a process of its own; return what it printed."""
    command = module(
        "scripts.benchmark.peers.libraries", name, redis_url(port), what, connections, seconds, fill
    )
    done = subprocess.run(
        command, input=b"\n".join(lines or []), capture_output=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise BenchmarkError(f"{name}: {done.stderr[-1000:]!r}")
    return done.stdout.decode()
