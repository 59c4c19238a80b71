"""A thin guard around uvicorn's protocol, which by itself waits for ever and takes any head.

Only what the socket knows best is done here: bytes of a head, who reads slowly, and time. A request
that comes whole is not waited for: it costs no timer.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.http.call import IS_GONE
from service.http.incoming import BODY_COMPLETE, BODY_IDLE_SECONDS, BODY_STALLED
from service.memory.listeners import SLOW_READER, Listener, Listeners

HEAD_BYTES = 65_536 + 8_192
"""The header lines that the service takes, and a request line before them."""

HEAD_SECONDS = 10.0
SILENT_SECONDS = 30.0

MOST_PIPELINED = 16
"""Requests that wait behind the one that is being answered: in memory, and counted by nobody."""

LINGER_SECONDS = 1.0

UNSENT_BYTES = 131_072
"""Of an answer in the kernel, beyond what is on its way (tcp(7)): by itself it takes up to 4 MB,
which count as the group's, and tells of a slow reader's progress in large steps only."""

SLOW_READER_SECONDS = 30.0
"""In which a client has to take about 100 KiB of a large answer, or be cut."""

_PROBLEM = (
    b'{"type":"about:blank","title":"Request header fields too large","status":431,'
    b'"detail":"The head of the request is too large.","code":"headers_too_large","limit":65536}'
)
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
) % (len(_PROBLEM), _PROBLEM)


class TurnTransport:
    """A transport that sends what is written in one turn of the loop with one call to the kernel.

    uvicorn writes the head and the body of an answer apart, and each such call costs as much as
    parsing the request. All that is not about writing is the transport's own.
    """

    __slots__ = ("_is_sending", "_loop", "_size", "_transport", "_written", "is_lingering")

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        is_sending: Callable[[], bool],
    ) -> None:
        """Write through `transport`; `is_sending` tells whether more of a request is to come."""
        self._transport = transport
        self._loop = loop
        self._is_sending = is_sending
        self.is_lingering = False
        self._written: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it at the end of this turn, with what else is written until then, if that is little.

        Much goes at once: it is not copied, and the transport can tell the writer to pause.
        """
        if self.is_lingering:
            return
        if self._size + len(data) > HIGH_WATER_LIMIT:
            self._flush()
            self._transport.write(data)
            return
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)
        self._size += len(data)

    def close(self) -> None:
        """Send what was written, then close.

        Who is still sending is listened to for a moment: a socket that is closed with unread bytes
        is reset, and the answer may be lost with it.
        """
        self._flush()
        if not self._is_sending() or self.is_closing():
            self._transport.close()
            return
        self.is_lingering = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(LINGER_SECONDS, self._transport.close)

    def is_closing(self) -> bool:
        """Whether the end has begun: what comes now is dropped."""
        return self.is_lingering or self._transport.is_closing()

    def forget(self) -> None:
        """Let go of whom it asks: both would keep each other until a collection."""
        self._is_sending = bool

    def _flush(self) -> None:
        written, self._written, self._size = self._written, [], 0
        if written and not self._transport.is_closing():
            self._transport.write(b"".join(written))


class GuardedProtocol(HttpToolsProtocol):
    """Hangs up on heads that are too large or too slow, and on sockets that never say a word.

    A body that stops coming is told to the app, which can answer.
    """

    head_seconds = HEAD_SECONDS
    body_seconds = BODY_IDLE_SECONDS
    silent_seconds = SILENT_SECONDS
    slow_reader_seconds = SLOW_READER_SECONDS
    _finished: object = None
    _timed: object = None
    _head_bytes = _head_lines = _most_lines = 0
    _patience: asyncio.TimerHandle | None = None
    _cut: asyncio.TimerHandle | None = None
    _listener: Listener | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first byte, but not for ever."""
        self._most_lines = 2 * self.app_state["limits"].max_header_lines
        self._turn = TurnTransport(transport, self.loop, lambda: self.scope is not self._finished)
        super().connection_made(cast("asyncio.Transport", self._turn))
        with suppress(OSError):  # where the kernel has it
            kernel = transport.get_extra_info("socket")
            kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._arm(self.silent_seconds, self.transport.close)

    def on_message_begin(self) -> None:
        """Count the lines of the next head."""
        self._head_lines = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a line, unless there are far more than the app would: short ones cost most."""
        self._head_lines += 1
        if self._head_lines > self._most_lines:
            self.transport.write(_TOO_LARGE)
            self.transport.close()
            raise ValueError("too many header lines")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Take the next request, unless too many wait: what is raised here is answered 400."""
        if len(self.pipeline) >= MOST_PIPELINED:
            raise ValueError("too many requests at once")
        self.scope[IS_GONE] = self.transport.is_closing  # type: ignore[literal-required] # our own
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that this request has come whole."""
        super().on_message_complete()
        self._finished = self.scope
        self.scope[BODY_COMPLETE] = True  # type: ignore[literal-required] # our own
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Count what comes before the head is complete: its parts are kept in memory until then."""
        if self._turn.is_lingering:
            return
        self._head_bytes += len(data)
        super().data_received(data)
        if self._is_idle or self.scope is not self._finished or self._patience is not None:
            self._wait()

    def pause_writing(self) -> None:
        """Note that the client takes its answer more slowly than it comes, and wait for it."""
        super().pause_writing()
        self._cut = self.loop.call_later(self.slow_reader_seconds, self.transport.abort)
        if self._listener is None:
            listeners: Listeners = self.app_state["listeners"]
            waiting = self.transport.get_write_buffer_size
            close = self.transport.abort
            self._listener = listeners.add(SLOW_READER, close=close, queued_bytes=waiting)

    def resume_writing(self) -> None:
        """Go on: the client has taken nearly all."""
        self._keep()
        if self._listener is not None:
            self.app_state["listeners"].moved(self._listener)
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Forget a reader who has been slow, and the head of its request: it is through."""
        self._forget_listener()
        if self.cycle.response_complete:  # else it is that of a request that waits behind it
            self.cycle.scope["headers"] = ()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._disarm()
        self._keep()
        self._forget_listener()
        super().connection_lost(exc)
        self._turn.forget()

    @property
    def _is_idle(self) -> bool:
        """Whether there is no request that is to be answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    def _wait(self) -> None:
        """Wait for the rest: a head has one deadline for all of it, a body one for each part."""
        if self.scope is self._finished:
            self._disarm()
            if self._is_idle:  # empty lines are no request
                self._arm(self.silent_seconds, self.transport.close)
        elif self.scope.get("raw_path"):  # the head is complete
            # The rest is read when the app asks for it, which it does when it has room.
            self.flow.pause_reading()
            self._arm(self.body_seconds, self._tell_of_stall)
        elif self._head_bytes > HEAD_BYTES:
            self.transport.write(_TOO_LARGE)
            self.transport.close()
        elif self.scope is not self._timed:
            self._timed = self.scope
            self._arm(self.head_seconds, self.transport.close)

    def _tell_of_stall(self) -> None:
        """Wake the app with nothing, unless nothing came because nothing was read."""
        if self.flow.read_paused:
            self._arm(self.body_seconds, self._tell_of_stall)
            return
        self.cycle.scope[BODY_STALLED] = True  # type: ignore[literal-required] # our own
        self.cycle.message_event.set()

    def _keep(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None

    def _forget_listener(self) -> None:
        if self._listener is not None:
            self.app_state["listeners"].discard(self._listener)
            self._listener = None

    def _arm(self, seconds: float, act: Callable[[], None]) -> None:
        self._disarm()
        self._patience = self.loop.call_later(seconds, act)

    def _disarm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
