"""What `scripts/serve` runs: Redis if none was given, then the service, until one of them ends."""

import ctypes
import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import FrameType

from scripts.embedded_valkey import EmbeddedValkey, EmbeddedValkeyError
from service.settings import Settings, SettingsError, load_settings

DATA = Path(__file__).resolve().parent.parent / ".data"
READY_SECONDS = 60.0
PR_SET_PDEATHSIG = 1  # prctl(2); Linux only
POLL_SECONDS = 0.05


def main() -> int:
    """Serve until Ctrl-C, SIGTERM or the end of the service; return its exit code."""
    with ExitStack() as stack:
        try:
            settings = load_settings(os.environ)
            valkey = None if settings.redis_url else _embedded(stack)
        except (SettingsError, EmbeddedValkeyError) as error:
            print(f"scripts/serve: {error}", file=sys.stderr)
            return 2
        code = _serve(settings, {"REDIS_URL": valkey.url} if valkey else {})
        # Only an end that was asked for takes the embedded server along: a service that was killed,
        # or found its port taken, finds its Redis again at the next start.
        if valkey and code == 0:
            valkey.stop()
        return code if code >= 0 else 128 - code


def _embedded(stack: ExitStack) -> EmbeddedValkey:
    """Start the embedded server; a lock keeps a second scripts/serve from sharing its end."""
    DATA.mkdir(exist_ok=True)
    lock = stack.enter_context((DATA / "lock").open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise EmbeddedValkeyError("another scripts/serve is running in this checkout") from error
    valkey = EmbeddedValkey(DATA)
    valkey.start()
    return valkey


def _serve(settings: Settings, variables: dict[str, str]) -> int:
    """Run the service and pass signals on; an end by a signal that we passed on is orderly: 0."""
    passed: set[int] = set()
    service: subprocess.Popen[bytes] | None = None

    def forward(number: int, _frame: FrameType | None) -> None:
        passed.add(number)
        if service is not None:
            service.send_signal(number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, forward)
    # A group of its own: Ctrl-C then reaches the service once, through us, and not twice.
    service = subprocess.Popen(
        [sys.executable, "-m", "service"],
        env=os.environ | variables,
        process_group=0,
        preexec_fn=_end_with_parent,  # noqa: PLW1509 # before any thread of ours
    )
    for number in tuple(passed):  # that came while it started
        service.send_signal(number)
    threading.Thread(target=_announce, args=(settings, service), daemon=True).start()
    code = service.wait()
    return 0 if -code in passed else code


def _end_with_parent() -> None:
    """Have the kernel end the service if we are killed: it would hold its port without an owner."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _announce(settings: Settings, service: subprocess.Popen[bytes]) -> None:
    """Say where it is, once it answers."""
    started = time.monotonic()
    deadline = started + READY_SECONDS
    while not _is_answering(settings.port, started):
        if service.poll() is not None or time.monotonic() > deadline:
            return
        time.sleep(POLL_SECONDS)
    url = f"http://127.0.0.1:{settings.port}"
    # A key belongs on a person's screen, not into a log.
    key = (settings.api_key or "KEY") if sys.stdout.isatty() else "$API_KEY"
    header = f' -H "Authorization: Bearer {key}"' if settings.credentials else ""
    print(f"Ballast: {url}/health", flush=True)
    print(f"Try:     curl -X PUT{header} {url}/v1/sessions/hello", flush=True)


def _is_answering(port: int, started: float) -> bool:
    """Whether it is our service that answers: a stranger on its port has been up for longer."""
    with (
        suppress(OSError, http.client.HTTPException, ValueError, KeyError, TypeError),
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection,
    ):
        connection.request("GET", "/health")
        document = json.loads(connection.getresponse().read())
        return bool(document["uptime"] <= time.monotonic() - started)
    return False


if __name__ == "__main__":
    sys.exit(main())
