"""The service of a storm, inside its quota, and its Valkey, outside of it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark.calls import KEY
from scripts.benchmark.processes import ROOT, is_service_ready
from scripts.storming.group import Group, NoGroup, memory_group
from tests.servers import free_port, start_server

MIB = 1_048_576
READY_SECONDS = 30.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.02
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class StormError(Exception):
    """It cannot go on; the message says why."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """One service; `group` is None where memory groups cannot be made."""

    port: int
    quota_bytes: int
    group: Group | None
    environ: dict[str, str]
    log_path: Path
    process: subprocess.Popen[bytes]

    @property
    def exit_code(self) -> int | None:
        """How the service has ended; None = it runs."""
        return self.process.poll()

    def used_bytes(self) -> int:
        """What counts against the quota now; the kernel's sum may lag, the process's does not."""
        own_bytes = anonymous_bytes(self.process.pid)
        return max(own_bytes, self.group.used_bytes()) if self.group else own_bytes

    def kills(self) -> int:
        """Processes that the kernel has killed for this quota."""
        return self.group.kills() if self.group else 0

    def peak_bytes(self) -> int:
        """The kernel's own counter, page cache included; 0 where there is none."""
        return self.group.peak_bytes() if self.group else 0

    def restart(self) -> None:
        """Stop the service as the platform does, and start it anew."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self.process.kill()
        self.process.wait()
        self.process = spawn(self.environ, self.log_path, self.group)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return when the service has found its Redis. Raises StormError."""
        deadline = time.monotonic() + READY_SECONDS
        while not is_service_ready(self.port):
            if self.exit_code is not None or time.monotonic() > deadline:
                raise StormError(f"the service did not start: {self.log_path.read_text()[-2000:]}")
            time.sleep(POLL_SECONDS)


def anonymous_bytes(pid: int) -> int:
    """Resident pages of a process that are not shared with a file: proc(5), fields 2 and 3."""
    with suppress(OSError, ValueError):  # it may just end
        _, resident, shared, _ = Path(f"/proc/{pid}/statm").read_text().split(None, 3)
        return (int(resident) - int(shared)) * PAGE_BYTES
    return 0


@contextmanager
def stage(quota_mb: int, settings: Mapping[str, str], *, grouped: bool = True) -> Iterator[Stage]:
    """Start all of it; it is gone at the end. Without groups the quota is only told."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ballast-storm-")))
        valkey = stack.enter_context(start_server("valkey"))
        group = stack.enter_context(memory_group(quota_mb * MIB)) if grouped else None
        port, log_path = free_port(), directory / "service.log"
        environ = platform_environ(port, quota_mb, valkey.url) | dict(settings)
        if not group:
            environ |= {"MEMORY_QUOTA_MB": str(quota_mb)}
        it = Stage(
            port=port,
            quota_bytes=quota_mb * MIB,
            group=group,
            environ=environ,
            log_path=log_path,
            process=spawn(environ, log_path, group),
        )
        stack.callback(lambda: _end(it.process))
        it.wait_until_ready()
        yield it


def platform_environ(port: int, quota_mb: int, redis_url: str) -> dict[str, str]:
    """Return the environment that the platform gives, and no more."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {
        "DYNO": "web.1",
        "DYNO_RAM": str(quota_mb),
        "WEB_CONCURRENCY": "2",
        "FORWARDED_ALLOW_IPS": "*",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "true",
        "PORT": str(port),
        "REDIS_URL": redis_url,
        "API_KEY": KEY,
        "MAX_MESSAGES": "100000",  # so that nothing is trimmed that is to be read back
    }


def spawn(
    environ: Mapping[str, str], log_path: Path, group: Group | None
) -> subprocess.Popen[bytes]:
    """Start the Procfile's command, inside the group if there is one."""
    words = (sys.executable, "-m", "service")
    with log_path.open("ab") as log:
        return subprocess.Popen(
            group.command(words) if group else words, cwd=ROOT, env=environ, stdout=log, stderr=log
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def can_group() -> str:
    """Say why memory groups cannot be made here; empty = they can."""
    try:
        with memory_group(64 * MIB):
            return ""
    except NoGroup as error:
        return str(error)
