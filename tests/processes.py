"""The service as a real process, for tests of signals, crashes and bad surroundings.

with start_service(REDIS_URL=server.url) as service:
    service.http.get("/health")
    service.kill()
    service.restart()  # the same port, the same environment
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.servers import HOST, free_port

ROOT = Path(__file__).resolve().parents[1]
COMMAND = (sys.executable, "-m", "service")
READY_SECONDS = 20.0
POLL_SECONDS = 0.01
SCRIPT_SECONDS = 50.0

Document = dict[str, Any]

ORDERLY = (0, -signal.SIGTERM)
"""Exit codes of an end by SIGTERM: the server may pass the signal on to itself at last."""


class NotInTime(Exception):
    """Something that had to happen did not."""


def wait_until(holds: Callable[[], object], *, seconds: float, what: str) -> float:
    """Poll until `holds`; return the seconds that it took. Raises NotInTime."""
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > seconds:
            raise NotInTime(f"not within {seconds} s: {what}")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - started


@dataclass(slots=True, kw_only=True)
class Service:
    """One process of the service; it keeps its port and its environment over restarts."""

    port: int
    environ: dict[str, str]
    log_path: Path
    http: httpx.Client
    process: subprocess.Popen[bytes]
    group: Path | None = None
    last_log: str | None = None

    @property
    def log(self) -> str:
        """What it said, in all its lives."""
        return self.log_path.read_text() if self.last_log is None else self.last_log

    def lines(self, part: str) -> list[str]:
        """The lines of its log with `part` in them."""
        return [line for line in self.log.splitlines() if part in line]

    def health(self) -> Document:
        """The document of /health."""
        document: Document = self.http.get("/health").json()
        return document

    def redis(self) -> Document:
        """What /health says about Redis."""
        redis: Document = self.health()["redis"]
        return redis

    def is_answering(self) -> bool:
        """Whether /health answers, well or not."""
        try:
            return self.http.head("/health").status_code > 0
        except httpx.TransportError:
            return False

    def wait_until_ready(self) -> Self:
        """Return when /health answers; raise if the process ends or READY_SECONDS pass."""
        wait_until(
            lambda: self.is_answering() or self.process.poll() is not None,
            seconds=READY_SECONDS,
            what=f"an answer of /health; its log: {self.log}",
        )
        if self.process.poll() is not None:
            raise NotInTime(f"the service ended with {self.process.returncode}: {self.log}")
        return self

    def wait_until_connected(self, *, seconds: float = 3.0) -> float:
        """Return the seconds until a write is taken and /health says so. Raises NotInTime."""
        return wait_until(
            lambda: self.takes_writes() and self.health()["databaseConnected"],
            seconds=seconds,
            what=f"a write and databaseConnected; its log: {self.log}",
        )

    def takes_writes(self) -> bool:
        """Whether a session can be written now."""
        return self.http.put("/v1/sessions/probe", json={}).is_success

    def terminate(self) -> None:
        """Ask it to end."""
        self.process.terminate()

    def wait(self, *, seconds: float = 25.0) -> int:
        """Return its exit code. Raises TimeoutExpired."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End it as the OOM killer does: SIGKILL."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> Self:
        """Start it anew on the same port."""
        self.kill()
        self.process = _spawn(self.environ, self.log_path, self.group)
        return self.wait_until_ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.http.close()
        self.kill()
        self.last_log = self.log
        self.log_path.unlink()


def start_service(group: Path | None = None, /, **environ: str) -> Service:
    """Start the service on a free port, inside a memory group if one is given.

    Variables of the environment are given by name.
    """
    port = free_port()
    clean = clean_environ(PORT=str(port), **environ)
    handle, name = tempfile.mkstemp(prefix="ballast-service-", suffix=".log")
    os.close(handle)
    service = Service(
        port=port,
        environ=clean,
        log_path=Path(name),
        http=httpx.Client(base_url=f"http://{HOST}:{port}", timeout=5),
        process=_spawn(clean, Path(name), group),
        group=group,
    )
    try:
        return service.wait_until_ready()
    except BaseException:
        service.__exit__(None, None, None)
        raise


def clean_environ(**environ: str) -> dict[str, str]:
    """Give nothing of the tester's own environment but what a program needs to start."""
    names = ("PATH", "HOME", "LANG", "COVERAGE_")
    kept = {name: text for name, text in os.environ.items() if name.startswith(names)}
    return kept | environ


def run_service(**environ: str) -> subprocess.CompletedProcess[str]:
    """Run the service to its own end: for starts that fail."""
    return subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=clean_environ(**environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=READY_SECONDS,
    )


def run_script(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of scripts/ to its end, on small work."""
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=False,
        timeout=SCRIPT_SECONDS,
    )


def _spawn(environ: dict[str, str], log_path: Path, group: Path | None) -> subprocess.Popen[bytes]:
    # Into the group before the first page is charged; exec keeps the process that signals reach.
    enter = ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group)) if group else ()
    with log_path.open("ab") as log:
        return subprocess.Popen([*enter, *COMMAND], cwd=ROOT, env=environ, stdout=log, stderr=log)
