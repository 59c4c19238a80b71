"""A thin guard around uvicorn's protocol, which by itself waits for ever and takes any head.

Only what the socket knows best is done here: bytes of a head, and time. A request that comes whole
is not waited for: it costs no timer.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.call import BODY_IDLE_SECONDS, BODY_STALLED

HEAD_BYTES = 65_536 + 8_192
"""The header lines that the service takes, and a request line before them."""

HEAD_SECONDS = 10.0
SILENT_SECONDS = 30.0

_PROBLEM = (
    b'{"type":"about:blank","title":"Request header fields too large","status":431,'
    b'"detail":"The head of the request is too large.","code":"headers_too_large","limit":65536}'
)
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
) % (len(_PROBLEM), _PROBLEM)


class Missing(Enum):
    """What the client has yet to send of the request that it began."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class GuardedProtocol(HttpToolsProtocol):
    """Hangs up on heads that are too large or too slow, and on sockets that never say a word.

    A body that stops coming is told to the app, which can answer.
    """

    head_seconds = HEAD_SECONDS
    body_seconds = BODY_IDLE_SECONDS
    silent_seconds = SILENT_SECONDS
    _missing = Missing.NOTHING
    _head_bytes = 0
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first byte, but not for ever."""
        super().connection_made(transport)
        self._arm(self.silent_seconds, self.transport.close)

    def on_message_begin(self) -> None:
        """Expect the rest of a head."""
        super().on_message_begin()
        self._missing = Missing.HEAD

    def on_headers_complete(self) -> None:
        """Expect a body, if there is one."""
        super().on_headers_complete()
        self._missing = Missing.BODY

    def on_message_complete(self) -> None:
        """Expect nothing: the next request may come or not."""
        super().on_message_complete()
        self._missing = Missing.NOTHING
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Count what comes before the head is complete: its parts are kept in memory until then."""
        was_missing = self._missing
        self._head_bytes += len(data)
        super().data_received(data)
        if self._missing is not Missing.NOTHING or self._patience is not None:
            self._wait(was_missing)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._disarm()
        super().connection_lost(exc)

    def _wait(self, was_missing: Missing) -> None:
        """Wait for the rest: a head has one deadline for all of it, a body one for each part."""
        if self._missing is Missing.HEAD and self._head_bytes > HEAD_BYTES:
            self.transport.write(_TOO_LARGE)
            self.transport.close()
        elif self._missing is Missing.NOTHING:
            self._disarm()
        elif self._missing is Missing.BODY:
            self._arm(self.body_seconds, self._tell_of_stall)
        elif was_missing is not Missing.HEAD:
            self._arm(self.head_seconds, self.transport.close)

    def _tell_of_stall(self) -> None:
        """Wake the app with nothing, unless nothing came because nothing was read."""
        if self.flow.read_paused:
            self._arm(self.body_seconds, self._tell_of_stall)
            return
        self.cycle.scope[BODY_STALLED] = True  # type: ignore[literal-required] # our own
        self.cycle.message_event.set()

    def _arm(self, seconds: float, act: Callable[[], None]) -> None:
        self._disarm()
        self._patience = self.loop.call_later(seconds, act)

    def _disarm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
