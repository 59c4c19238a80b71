"""`scripts/serve` in a fresh checkout: started, killed, started again, stopped."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped] # ships no types
import pytest

from tests.processes import ROOT, clean_environ, wait_until
from tests.servers import HOST, free_port

INSTALL_SECONDS = 120.0
START_SECONDS = 15.0
MESSAGE = {"role": "user", "text": "Grüße 🙂"}

# What pip needs to find its packages where this machine has them.
PIP_VARIABLES = ("PIP_", "HTTPS_PROXY", "https_proxy", "SSL_CERT_")

pytestmark = pytest.mark.timeout(INSTALL_SECONDS + 60)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what a clone has and the service needs; no environment, no data."""
    checkout = tmp_path_factory.mktemp("fresh") / "checkout"
    for folder in ("service", "scripts"):
        shutil.copytree(ROOT / folder, checkout / folder)
    for pattern in ("settings.toml", "requirements*.txt"):
        for path in ROOT.glob(pattern):
            shutil.copy(path, checkout)
    return checkout


class Serving:
    """A running scripts/serve, and the two processes that it looks after."""

    def __init__(self, checkout: Path, port: int) -> None:
        self.log_path = checkout / "serve.log"
        self.valkey_pid_path = checkout / ".data" / "valkey.pid"
        self.url = f"http://{HOST}:{port}"
        environ = {k: text for k, text in os.environ.items() if k.startswith(PIP_VARIABLES)}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [checkout / "scripts" / "serve"],
                cwd=checkout,
                env=clean_environ(PORT=str(port), **environ),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health/ready").is_success
        return False

    def service(self) -> psutil.Process:
        """Find the service among the children."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if child.cmdline()[-1] == "service")

    def valkey(self) -> psutil.Process:
        return psutil.Process(int(self.valkey_pid_path.read_text()))

    def kill_all(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for find in (self.service, self.valkey):
            with suppress(psutil.Error, OSError, ValueError, StopIteration):
                find().kill()
        self.process.wait()


@contextmanager
def serving(checkout: Path) -> Iterator[Serving]:
    it = Serving(checkout, free_port())
    try:
        wait_until(it.is_ready, seconds=INSTALL_SECONDS, what=f"a start: {it.log}")
        yield it
    finally:
        it.kill_all()


def append(url: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/sessions/chat/messages", json={"messages": [MESSAGE]})


def messages(url: str) -> list[object]:
    page = httpx.get(f"{url}/v1/sessions/chat/messages").json()
    return [each["message"] for each in page["messages"]]


def test_one_command_serves_and_a_kill_loses_nothing(checkout: Path) -> None:
    with serving(checkout) as first:
        wait_until(lambda: "Try:" in first.log, seconds=5, what="the example call")
        assert append(first.url).status_code == 201
        first.service().kill()
        assert first.process.wait(START_SECONDS) == 128 + signal.SIGKILL
        valkey = first.valkey()
        assert valkey.is_running()

        started = time.monotonic()
        with serving(checkout) as second:
            assert time.monotonic() - started < START_SECONDS  # nothing is installed again
            assert second.valkey() == valkey
            assert messages(second.url) == [MESSAGE]
            second.process.terminate()
            assert second.process.wait(START_SECONDS) == 0
            wait_until(lambda: not valkey.is_running(), seconds=5, what="the end of Valkey")

    with serving(checkout) as third:
        assert messages(third.url) == [MESSAGE]
        service = third.service()
        third.process.send_signal(signal.SIGINT)
        assert third.process.wait(START_SECONDS) == 0
        assert not service.is_running()
    assert "Traceback" not in third.log
