"""What the benchmark starts, and ends: the service, the peers, the wire between them and Redis."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark.calls import KEY, request
from scripts.benchmark.cpu import cpu_seconds
from scripts.benchmark.figures import BenchmarkError
from scripts.benchmark.generator import HOST, ask
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 30.0
POLL_SECONDS = 0.02
QUOTA_MB = 4_096
"""So that the hot tier holds all that is to be hot; a quarter of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A program that listens on a port."""

    port: int
    pid: int

    @property
    def cpu_seconds(self) -> float:
        """What it has used."""
        return cpu_seconds(self.pid)


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    *,
    environ: Mapping[str, str] | None = None,
    is_ready: Callable[[int], bool] | None = None,
) -> Iterator[Process]:
    """Run a program until the end of the block; it begins when it is ready."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environ() | dict(environ or {}), stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not (is_ready or is_listening)(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise BenchmarkError(f"{command[-3:]} did not start: {log.read()[-2000:]!r}")
                time.sleep(POLL_SECONDS)
            yield Process(port=port, pid=process.pid)
        finally:
            process.kill()
            process.wait()


def module(name: str, *arguments: object) -> list[str]:
    """Make the command of a module of ours."""
    return [sys.executable, "-m", name, *map(str, arguments)]


WEIGHED = {"REPLAY_MAX_MB": "0", "ENABLE_SESSION_BACKUP": "false"}
"""Settings where Redis is emptied and weighed: nothing may come back, and nothing follow later."""


@contextmanager
def running_service(redis_port: int, **settings: str) -> Iterator[Process]:
    """Run the service as users run it, with a key, and its defaults but for the quota."""
    port = free_port()
    environ = {
        "PORT": str(port),
        "API_KEY": KEY,
        "REDIS_URL": redis_url(redis_port),
        "MEMORY_QUOTA_MB": str(QUOTA_MB),
    }
    with running(
        module("service"), port, environ=environ | settings, is_ready=is_service_ready
    ) as process:
        yield process


@contextmanager
def running_peer(name: str, argument: object) -> Iterator[Process]:
    """Run one of the peers in Python."""
    port = free_port()
    with running(module(f"scripts.benchmark.peers.{name}", port, argument), port) as process:
        yield process


@contextmanager
def running_proxy(redis_port: int, delay_ms: float) -> Iterator[Process]:
    """Run the wire in front of Redis; `delay_ms` is that of one way."""
    port = free_port()
    command = module("scripts.benchmark.proxy", port, redis_port, delay_ms)
    with running(command, port) as process:
        yield process


def has_webdis() -> bool:
    """Whether Debian's package is installed."""
    return shutil.which("webdis") is not None


@contextmanager
def running_webdis(redis_port: int) -> Iterator[Process]:
    """Run webdis on one thread, as the others are."""
    port = free_port()
    settings = {
        "redis_host": HOST,
        "redis_port": redis_port,
        "http_host": HOST,
        "http_port": port,
        "threads": 1,
        "daemonize": False,
        "database": 0,
        "verbosity": 0,
        "logfile": os.devnull,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(settings, file)
        file.flush()
        with running(["webdis", file.name], port) as process:
            yield process


def redis_url(port: int) -> str:
    """The address of a Redis of ours."""
    return f"redis://{HOST}:{port}/0"


def is_listening(port: int) -> bool:
    """Whether somebody takes connections."""
    with suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False


def is_service_ready(port: int) -> bool:
    """Whether the service has found its Redis."""
    with suppress(OSError, BenchmarkError):
        return ask(port, request("GET", "/health/ready")).startswith(b"HTTP/1.1 200")
    return False


def _environ() -> dict[str, str]:
    """Give nothing of our own surroundings but what a program needs."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT)}
