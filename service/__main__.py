"""`python -m service`: one process, whatever WEB_CONCURRENCY says; scale by dynos."""

import asyncio
import logging
import os
import sys
from contextlib import suppress
from socket import socket
from types import FrameType

import uvicorn

from service import __version__
from service.app import create_app
from service.clock import SystemClock
from service.http.lifespan import Stopping
from service.http.protocol import GuardedProtocol
from service.settings import Settings, SettingsError, load_settings

KEEP_ALIVE_SECONDS = 95
"""Longer than the 90 s for which the platform's router keeps its side open."""

GRACEFUL_SECONDS = 20
"""Of the 30 s between SIGTERM and SIGKILL; hanging up, a last try to empty the journal and closing
take up to 4 more."""

_log = logging.getLogger("ballast")


class Server(uvicorn.Server):
    """uvicorn's server, which tells the app at the first signal that the end has begun."""

    def __init__(self, config: uvicorn.Config, stopping: Stopping) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on SIGTERM or SIGINT; more of them change nothing."""
        if self._stopping.is_set:
            return
        self._stopping.is_set, self._stopping.since = True, SystemClock().monotonic()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Finish what runs; hang up on what does not end, as cancelling it would answer 500."""
        hang_up = asyncio.get_running_loop().call_later(GRACEFUL_SECONDS, self._hang_up)
        try:
            await super().shutdown(sockets)
        finally:
            hang_up.cancel()

    def _hang_up(self) -> None:
        connections = list(self.server_state.connections)
        _log.warning("%d connections did not end in time and are cut off.", len(connections))
        for connection in connections:
            connection.transport.abort()


def main() -> int:
    """Serve until a signal; exit code 2 if the settings are wrong."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    try:
        settings = load_settings(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"Ballast cannot start: {error}\n")
        return 2
    _tell(settings)
    stopping = Stopping()
    app = create_app(settings, stopping=stopping)
    with suppress(KeyboardInterrupt):  # the server raises it anew after an orderly end
        Server(_config(app, settings), stopping).run()
    return 0


def _config(app: object, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type] # Starlette is an ASGI app
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=GuardedProtocol,
        ws="none",
        lifespan="on",
        workers=1,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS + 1,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
    )


def _tell(settings: Settings) -> None:
    """Say at the start what an operator should know."""
    _log.info("Ballast %s starts on port %s.", __version__, settings.port)
    if settings.credentials:
        return
    if settings.is_loopback:
        _log.warning("No API_KEY: whoever is on this machine may do everything.")
    else:
        _log.warning("No API_KEY: every call to /v1 is answered 401 until it is set.")


if __name__ == "__main__":
    sys.exit(main())
