"""The body of a request: counted before it is read, and read to its end before it is refused."""

import asyncio
from contextlib import suppress

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from service.errors import RequestTimeout, TooLarge, UnsupportedMediaType
from service.http.headers import Headers
from service.memory.admission import Hold
from service.memory.plan import BODY_COST

BODY_IDLE_SECONDS = 30.0
BODY_STALLED = "ballast.body_stalled"
"""Set in the scope of a request whose body made no progress for so long; it is waited for no more.

Who reads the socket knows that best, and needs no timer for a body that comes with its head.
"""

BODY_COMPLETE = "ballast.body_complete"
"""Set in the scope of a request that has come whole."""

MOST_DIGITS = 18
SLOT_SECONDS, DRAIN_PAUSE_SECONDS, DRAIN_SECONDS = 1.0, 2.0, 10.0
DRAIN_BYTES = 33_554_432
"""Of a body that is refused: what is read and dropped, at most. A client that is still sending does
not see an answer: its connection breaks."""


class Body:
    """What a client sends after the head of its request."""

    __slots__ = ("_has_begun", "_headers", "_is_read", "_receive", "_scope")

    def __init__(self, scope: Scope, receive: Receive, headers: Headers) -> None:
        """Read nothing yet."""
        self._scope = scope
        self._receive = receive
        self._headers = headers
        self._has_begun = self._is_read = False

    @property
    def is_over(self) -> bool:
        """Whether all has been read, or there is nothing to read (RFC 9112, 6.3)."""
        return self._is_read or self._told_bytes() == 0

    @property
    def has_come(self) -> bool:
        """Whether all is in memory, be it read or not."""
        return BODY_COMPLETE in self._scope or self.is_over

    async def read(self, most_bytes: int, hold: Hold) -> bytes:
        """Read all of it. Raises Unavailable if there is no room for it, TooLarge, RequestTimeout.

        A length that is told is judged before anything is read.
        """
        if self._headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType("Send the body without Content-Encoding.")
        told = self._told_bytes()
        if told is not None:
            _check_size(told, most_bytes)
            hold.check(BODY_COST * told)
        body = bytearray()
        while not self.is_over:
            piece = await self._take(len(body), most_bytes, hold)
            if self._is_read and not body:
                return piece  # the usual: nothing is copied
            body += piece
        return bytes(body)

    async def _take(self, size: int, most_bytes: int, hold: Hold) -> bytes:
        """Return the next piece of a body of which so many bytes have come.

        What is told but does not come holds nothing: who sends slowly keeps nobody out.
        """
        piece = await self._next()
        _check_size(size + len(piece), most_bytes)
        hold.grow(BODY_COST * len(piece))
        return piece

    async def drain(self, slots: asyncio.Semaphore) -> None:
        """Read what is left and drop it, within limits; `has_come` tells whether all is here.

        Each that is drained has up to 256 KiB in memory: as many are at the same time as `slots`.
        """
        is_awaited = b"expect" in self._headers and not self._has_begun
        if is_awaited or BODY_STALLED in self._scope:
            return  # nothing will come
        with suppress(RequestTimeout, ClientDisconnect, TimeoutError):
            async with asyncio.timeout(SLOT_SECONDS):
                await slots.acquire()
            try:
                await self._drop()
            finally:
                slots.release()

    async def _drop(self) -> None:
        left = DRAIN_BYTES
        async with asyncio.timeout(DRAIN_SECONDS):
            while not self.has_come and left > 0:
                async with asyncio.timeout(DRAIN_PAUSE_SECONDS):
                    left -= len(await self._next())

    def _told_bytes(self) -> int | None:
        """Bytes that the head says will come; None = it does not say."""
        if b"transfer-encoding" in self._headers:
            return None
        length = self._headers.get(b"content-length", b"0")
        return int(length) if length.isdigit() and len(length) <= MOST_DIGITS else None

    async def _next(self) -> bytes:
        event = await self._receive()
        self._has_begun = True
        if event["type"] == "http.disconnect":
            raise ClientDisconnect
        if BODY_STALLED in self._scope:
            raise RequestTimeout(f"No byte of the body came for {BODY_IDLE_SECONDS:.0f} s.")
        self._is_read = not event.get("more_body", False)
        chunk: bytes = event.get("body", b"")
        return chunk


def _check_size(size: int, most_bytes: int) -> None:
    if size > most_bytes:
        raise TooLarge(f"The body is larger than {most_bytes} bytes.", limit=most_bytes)
