"""The service of a crash rehearsal on its own Valkey, and a client that knows what it wrote."""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from scripts.chat import Message
from scripts.embedded_valkey import HOST, EmbeddedValkey, free_port

ROOT = Path(__file__).resolve().parent.parent
CALL_SECONDS = 10.0
READY_SECONDS = 30.0
POLL_SECONDS = 0.02

CREATED, OK, UNAVAILABLE = 201, 200, 503


class RehearsalError(Exception):
    """It cannot go on; the message says why."""


class Outcome(Enum):
    """What the writer of a message knows about it."""

    ACKNOWLEDGED = "acknowledged"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Stack:
    """One service on one embedded Valkey."""

    directory: Path
    valkey: EmbeddedValkey
    port: int
    service: subprocess.Popen[bytes] | None = None

    def start_service(self) -> None:
        """Start the service; return when it takes requests."""
        unset = ("API_KEY", "API_KEYS", "DYNO")
        kept = {name: text for name, text in os.environ.items() if name not in unset}
        own = {"PORT": str(self.port), "HOST": HOST, "REDIS_URL": self.valkey.url}
        with (self.directory / "service.log").open("ab") as log:
            self.service = subprocess.Popen(
                [sys.executable, "-m", "service"], cwd=ROOT, env=kept | own, stdout=log, stderr=log
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if self.service.poll() is not None or time.monotonic() > deadline:
                raise RehearsalError(f"the service did not start: {log.name}")
            time.sleep(POLL_SECONDS)

    def kill_service(self) -> None:
        """End the service as the OOM killer does."""
        if self.service:
            self.service.kill()
            self.service.wait()

    def _is_ready(self) -> bool:
        try:
            return Client(self.port).get("/health/ready").status == OK
        except (OSError, http.client.HTTPException):
            return False


@contextmanager
def running(*, has_aof: bool = True) -> Iterator[Stack]:
    """Run a service and its Valkey; both are gone at the end, with their data."""
    with tempfile.TemporaryDirectory(prefix="ballast-rehearsal-") as name:
        directory = Path(name)
        stack = Stack(directory, EmbeddedValkey(directory, has_aof=has_aof), free_port())
        try:
            stack.valkey.start()
            stack.start_service()
            yield stack
        finally:
            stack.kill_service()
            stack.valkey.kill()


@dataclass(slots=True)
class Reply:
    """An answer over HTTP."""

    status: int
    body: bytes


class Client:
    """A bot's way to the service: one connection, kept alive, made anew when it breaks."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=CALL_SECONDS)

    def get(self, path: str) -> Reply:
        """Ask once."""
        return self._call("GET", path, None)

    def append(self, message: Message, is_over: threading.Event) -> Outcome | None:
        """Send a message until its fate is decided; None if that was never before the end."""
        body = b'{"messages":[' + message.text + b"]}"
        while not is_over.is_set():
            try:
                reply = self._call("POST", f"/v1/sessions/{message.session}/messages", body)
            except ConnectionRefusedError:
                time.sleep(POLL_SECONDS)  # nobody was there to be told
                continue
            except (OSError, http.client.HTTPException):
                return Outcome.UNKNOWN
            if reply.status == CREATED:
                return Outcome.ACKNOWLEDGED
            if reply.status != UNAVAILABLE:
                raise RehearsalError(f"the service answered {reply.status}: {reply.body!r}")
            if json.loads(reply.body)["outcome"] == "unknown":
                return Outcome.UNKNOWN
            time.sleep(POLL_SECONDS)
        return None

    def _call(self, method: str, path: str, body: bytes | None) -> Reply:
        try:
            self._connection.request(method, path, body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            return Reply(response.status, response.read())
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
