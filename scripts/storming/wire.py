"""A bot's connection: plain asyncio, one request at a time, kept until it breaks."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from scripts.embedded_valkey import HOST

PATIENCE_SECONDS = 60.0
STREAM_BYTES = 1_048_576
CODE = re.compile(rb'"code":"(\w+)"')
NARROW_BYTES = 4_096
"""Of the buffers of a slow reader: what it does not take stays with the service."""


class NoAnswer(Exception):
    """The connection ended, or stood still, before the whole answer was there."""


class NoServer(Exception):
    """Nobody takes connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes = b""

    @property
    def code(self) -> str:
        """What a problem document calls itself; empty where there is none."""
        found = CODE.search(self.body)
        return found[1].decode() if found else ""

    @property
    def retry_seconds(self) -> float | None:
        """The pause that the service asks for; None = it says nothing."""
        text = self.headers.get(b"retry-after")
        return None if text is None else float(text)


def parse_head(head: bytes) -> Reply:
    """Read a status line and header lines."""
    first, *lines = head.rstrip(b"\r\n").split(b"\r\n")
    pairs = (line.partition(b":") for line in lines)
    headers = {name.strip().lower(): text.strip() for name, _, text in pairs}
    return Reply(status=int(first.split(b" ", 2)[1]), headers=headers)


class Wire:
    """One connection; `narrow` = with the least buffers that there are."""

    def __init__(self, port: int, *, narrow: bool = False) -> None:
        self._port = port
        self._narrow = narrow
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, request: bytes) -> Reply:
        """Send a request and read its answer. Raises NoAnswer and NoServer."""
        async with self.talk() as (reader, writer):
            # Not drained: whoever refuses may answer before it has read all.
            writer.write(request)
            head = await self.read_head(reader)
            body = await reader.readexactly(int(head.headers.get(b"content-length", b"0")))
        if head.headers.get(b"connection", b"").lower() == b"close":
            self.close()
        return Reply(status=head.status, headers=head.headers, body=body)

    async def read_head(self, reader: asyncio.StreamReader) -> Reply:
        """Read up to the body."""
        return parse_head(await reader.readuntil(b"\r\n\r\n"))

    @asynccontextmanager
    async def talk(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Give the streams; whatever goes wrong with them closes them and is NoAnswer."""
        streams = self._streams = self._streams or await self._open()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                yield streams
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            raise NoAnswer from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up at once."""
        if self._streams:
            self._streams[1].transport.abort()
        self._streams = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        plug = socket.socket()
        plug.setblocking(False)  # noqa: FBT003 # socket's own call
        if self._narrow:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
        try:
            await asyncio.get_running_loop().sock_connect(plug, (HOST, self._port))
        except OSError as error:
            plug.close()
            raise NoServer from error
        limit = NARROW_BYTES if self._narrow else STREAM_BYTES
        return await asyncio.open_connection(sock=plug, limit=limit)
