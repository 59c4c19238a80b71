"""A connection to a server that a test may clog or cut, and who is connected to a server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis import Redis

from tests.servers import HOST, Server, free_port

FULL_SOCKET_BYTES = 16_777_216
"""More than the buffers of both ends of a connection on the loopback take."""


class Valve:
    """Passes on what clients send, until it is told not to; answers come through unless muted."""

    def __init__(self, port: int) -> None:
        self.url = f"redis://{HOST}:{port}"
        self._is_open = asyncio.Event()
        self._is_open.set()
        self.writers: set[asyncio.StreamWriter] = set()
        self.is_mute = False
        """Whether answers are lost on their way."""

    def hold(self) -> None:
        """Read no more from the clients."""
        self._is_open.clear()

    def release(self) -> None:
        """Read on."""
        self._is_open.set()

    def restore(self) -> None:
        """Pass everything on again."""
        self.is_mute = False
        self.release()

    def cut(self) -> None:
        """End the connections as they are."""
        for writer in self.writers:
            writer.transport.abort()

    async def pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if is_request or not self.is_mute:
                    writer.write(data)
                    await writer.drain()
                if is_request:
                    await self._is_open.wait()
        writer.transport.abort()


@asynccontextmanager
async def proxy(target_port: int) -> AsyncIterator[Valve]:
    """Listen in front of a server; the end cuts all connections."""
    port = free_port()
    valve = Valve(port)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection(HOST, target_port)
        valve.writers |= {writer, target_writer}
        await asyncio.gather(
            valve.pass_on(reader, target_writer, is_request=True),
            valve.pass_on(target_reader, writer, is_request=False),
        )

    server = await asyncio.start_server(serve, HOST, port)
    try:
        yield valve
    finally:
        server.close()
        valve.release()
        valve.cut()
        await server.wait_closed()


def connections_of(server: Server) -> int:
    """Return how many connections the service has to a server."""
    with Redis.from_url(server.url) as redis:
        return sum(client["name"] == "ballast" for client in redis.client_list())
