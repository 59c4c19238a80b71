"""A TCP proxy in front of Redis that goes wrong when it is told to."""

import asyncio
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.servers import HOST, free_port

READ_BYTES = 65_536
LINGER_NEVER = struct.pack("ii", 1, 0)


class Proxy:
    """Passes on what comes, in its order, after `delay_seconds`; its knobs may be turned any time.

    `loses_answers`: what Redis says is dropped. `is_holding`: nothing gets through; it comes late,
    as packets do that are sent again, when that is over.
    """

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.delay_seconds = 0.0
        self.loses_answers = False
        self._passing = asyncio.Event()
        self._passing.set()
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, context: ssl.SSLContext | None = None) -> None:
        """Listen, with TLS if a context is given; who listened before does no longer."""
        await self.close()
        self._server = await asyncio.start_server(self._serve, HOST, self.port, ssl=context)

    async def close(self) -> None:
        """End all connections, and listen no more."""
        if self._server is None:
            return
        self._server.close()
        self.reset()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def hold(self) -> None:
        """Let nothing through."""
        self._passing.clear()

    def release(self) -> None:
        """Let through what was held, and what comes."""
        self._passing.set()

    def reset(self) -> None:
        """End all connections by RST, as they are."""
        for writer in tuple(self._writers):
            plug = writer.get_extra_info("socket")
            with suppress(OSError):
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NEVER)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with suppress(OSError, asyncio.CancelledError):
            await self._join(reader, writer)
        writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self._target_port)
        self._writers |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer, is_answer=False))
                group.create_task(self._pump(far_reader, writer, is_answer=True))
        except* OSError:
            pass  # the end of one side is the end of both
        finally:
            self._writers -= {writer, far_writer}
            far_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        """Pass one direction on; what is held is read all the same, so that no RST overtakes it."""
        loop, waiting, has_more = (
            asyncio.get_running_loop(),
            deque[tuple[float, bytes]](),
            asyncio.Event(),
        )

        async def write() -> None:
            while True:
                await has_more.wait()
                due, data = waiting[0]
                await asyncio.sleep(due - loop.time())
                await self._passing.wait()
                waiting.popleft()
                if not waiting:
                    has_more.clear()
                if not data:
                    raise ConnectionResetError
                if not (is_answer and self.loses_answers):
                    writer.write(data)
                    await writer.drain()

        async def read() -> None:
            data = b"-"
            while data:
                data = b""
                with suppress(OSError):
                    data = await reader.read(READ_BYTES)
                waiting.append((loop.time() + self.delay_seconds, data))
                has_more.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            group.create_task(read())


@asynccontextmanager
async def proxy(target_port: int) -> AsyncIterator[Proxy]:
    """Give one, to be opened; the end cuts all connections."""
    it = Proxy(target_port)
    try:
        yield it
    finally:
        await it.close()
