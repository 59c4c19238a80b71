"""What is seen of a storm from outside: usage, the governor's log, answers of /health."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from scripts.benchmark.calls import request
from scripts.embedded_valkey import HOST
from scripts.storming.stage import MIB, Stage

SAMPLE_SECONDS = 0.02
HEALTH_SECONDS = 0.1
PATIENCE_SECONDS = 10.0
READ_BYTES = 65_536

USE = re.compile(r"Memory usage high: ([\d.]+)%")
BEGIN = re.compile(r"Running (standard|emergency) (?:memory )?cleanup")
END = re.compile(r"Memory cleanup freed (\d+) bytes in ([\d.]+) ms")
TIER = re.compile(rb'"tier":"(\w+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Bytes in use, so many seconds after the beginning."""

    at: float
    used_bytes: int


@dataclass(slots=True, kw_only=True)
class Action:
    """A cleanup: when it was seen to begin, at which share of the quota, what it brought."""

    at: float
    tier: str
    percent: float
    freed_bytes: int = 0
    ms: float = 0.0


@dataclass(slots=True)
class Actions:
    """The cleanups of a log that is read line by line."""

    found: list[Action] = field(default_factory=list)
    _percent: float = 0.0

    def read(self, line: str, at: float) -> None:
        """Take one line."""
        if use := USE.search(line):
            self._percent = float(use[1])
        elif begin := BEGIN.search(line):
            self.found.append(Action(at=at, tier=begin[1], percent=self._percent))
        elif (end := END.search(line)) and self.found:
            self.found[-1].freed_bytes, self.found[-1].ms = int(end[1]), float(end[2])


@dataclass(slots=True)
class Watch:
    """Everything that was seen; two threads write it."""

    stage: Stage
    began: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    actions: Actions = field(default_factory=Actions)
    latencies_ms: list[float] = field(default_factory=list)
    tier: str = "normal"
    _log_read: int = 0

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began

    def sample(self) -> None:
        """Look at usage and log once."""
        self.samples.append(Sample(at=self.seconds, used_bytes=self.stage.used_bytes()))
        with self.stage.log_path.open("rb") as log:
            log.seek(self._log_read)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._log_read += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            self.actions.read(line, self.seconds)

    def ask(self) -> None:
        """Ask /health once, on a connection of its own."""
        began = time.monotonic()
        with suppress(OSError):
            answer = _ask(self.stage.port)
            if found := TIER.search(answer):
                self.latencies_ms.append((time.monotonic() - began) * 1_000)
                self.tier = found[1].decode()


def _ask(port: int) -> bytes:
    with socket.create_connection((HOST, port), PATIENCE_SECONDS) as connection:
        connection.sendall(request("GET", "/health", headers="Connection: close\r\n"))
        pieces = iter(lambda: connection.recv(READ_BYTES), b"")
        return b"".join(pieces)


@contextmanager
def watching(stage: Stage) -> Iterator[Watch]:
    """Watch until the end of the block."""
    watch, is_over = Watch(stage), threading.Event()

    def repeat(look: Callable[[], None], seconds: float) -> None:
        while not is_over.wait(seconds):
            look()

    turns = ((watch.sample, SAMPLE_SECONDS), (watch.ask, HEALTH_SECONDS))
    threads = [threading.Thread(target=repeat, args=turn) for turn in turns]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def percent(used_bytes: int, stage: Stage) -> float:
    """Return the share of the quota."""
    return used_bytes / stage.quota_bytes * 100


def line(watch: Watch, name: str, acknowledged: int, shed: int) -> str:
    """Say in one line how it goes."""
    used_bytes = watch.samples[-1].used_bytes if watch.samples else 0
    return (
        f"{name}  {used_bytes / MIB:.0f} MB  {percent(used_bytes, watch.stage):.0f} % of quota  "
        f"{watch.tier}  {acknowledged:,} acknowledged  {shed:,} shed  {watch.seconds:.0f} s"
    )
