"""Resident memory after each import of the service, one after the other, each in a fresh process.

Prints a table: what is imported on top of the rows above it, its modules, and the bytes of memory
that they take; `private` is what no file backs, which is what counts against a quota.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

TIMES = 5
PAGE_BYTES = 4_096
MB = 1_000_000

STEPS = (
    ("Python", "sys"),
    ("asyncio (with ssl)", "asyncio"),
    ("uvloop", "uvloop"),
    ("httptools", "httptools"),
    ("uvicorn (with click, multiprocessing)", "uvicorn"),
    ("uvicorn's protocol", "uvicorn.protocols.http.httptools_impl"),
    ("Starlette (with anyio)", "starlette.applications"),
    ("redis (with hiredis)", "redis.asyncio"),
    ("tenacity", "tenacity"),
    ("msgspec", "msgspec"),
    ("orjson", "orjson"),
    ("zstandard", "zstandard"),
    ("psutil", "psutil"),
    ("dynaconf (with its own YAML, TOML, click)", "dynaconf"),
    ("the service", "service.__main__"),
    ("/openapi.json, once it is asked for", "service.http.openapi.document"),
)
PROGRAM = """
import sys
for name in sys.argv[1:]:
    __import__(name)
pages = open("/proc/self/statm").read().split()
print(len(sys.modules), pages[1], pages[2])
"""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of a process: modules that are loaded, resident bytes, and those of them without a file."""

    modules: int
    rss_bytes: int
    private_bytes: int


def measure(names: list[str]) -> Footprint:
    """Import modules in fresh processes; the median of a few."""
    runs = [_run(names) for _ in range(TIMES)]
    return Footprint(
        runs[0].modules,
        round(median(run.rss_bytes for run in runs)),
        round(median(run.private_bytes for run in runs)),
    )


def _run(names: list[str]) -> Footprint:
    command = [sys.executable, "-c", PROGRAM, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules, resident, shared = map(int, done.stdout.split())
    return Footprint(modules, resident * PAGE_BYTES, (resident - shared) * PAGE_BYTES)


def rows() -> Iterator[str]:
    """Yield the table, line by line, as it is measured."""
    yield "| import | modules | RSS, MB | private, MB | sum of RSS | sum of private |"
    yield "|---|---:|---:|---:|---:|---:|"
    names, before = list[str](), Footprint(0, 0, 0)
    for title, name in STEPS:
        names.append(name)
        now = measure(names)
        rss, private = now.rss_bytes - before.rss_bytes, now.private_bytes - before.private_bytes
        yield (
            f"| {title} | {now.modules - before.modules} | {rss / MB:.1f} | {private / MB:.1f} "
            f"| {now.rss_bytes / MB:.1f} | {now.private_bytes / MB:.1f} |"
        )
        before = now


if __name__ == "__main__":
    for row in rows():
        print(row, flush=True)
