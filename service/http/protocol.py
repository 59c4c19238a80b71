"""A thin guard around uvicorn's protocol, which by itself waits for ever and takes any head.

Only what has to be known before a request exists is done here: bytes of a head, and time.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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


class GuardedProtocol(HttpToolsProtocol):
    """Hangs up on heads that are too large or too slow, and on sockets that never say a word."""

    head_seconds = HEAD_SECONDS
    silent_seconds = SILENT_SECONDS
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first byte, but not for ever."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._is_in_head = True
        self._arm(self.silent_seconds)

    def on_message_begin(self) -> None:
        """Begin to count; the head has to be complete in time."""
        super().on_message_begin()
        self._is_in_head = True
        self._arm(self.head_seconds)

    def on_headers_complete(self) -> None:
        """Stop counting: the body has a deadline of its own."""
        self._is_in_head = False
        self._head_bytes = 0
        self._disarm()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count what comes before the head is complete: its parts are kept in memory until then."""
        self._head_bytes += len(data) if self._is_in_head else 0
        super().data_received(data)
        if self._is_in_head and self._head_bytes > HEAD_BYTES:
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._disarm()
        super().connection_lost(exc)

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._patience = self.loop.call_later(seconds, self.transport.close)

    def _disarm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
