"""TLS in front of a server that speaks none: a small terminating proxy, and its certificates."""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import trustme

from tests.servers import HOST


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Return the TLS of a server whose certificate `authority` issued for `names`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@contextmanager
def tls_proxy(port: int, target_port: int, context: ssl.SSLContext) -> Iterator[None]:
    """Listen on `port` with TLS, and pass what comes to `target_port` without, until the end."""
    loop, is_open = asyncio.new_event_loop(), threading.Event()
    closing = asyncio.Event()

    async def run() -> None:
        async with _proxy(port, target_port, context):
            is_open.set()
            await closing.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert is_open.wait(10), "the proxy did not open its port"
        yield
    finally:
        loop.call_soon_threadsafe(closing.set)
        thread.join()
        loop.close()


@asynccontextmanager
async def _proxy(port: int, target_port: int, context: ssl.SSLContext) -> AsyncIterator[None]:
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        # The end of the proxy is the end of its connections.
        with suppress(OSError, asyncio.CancelledError):
            await _join(reader, writer, target_port)
        tasks.discard(task)

    server = await asyncio.start_server(serve, HOST, port, ssl=context)
    try:
        yield
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def _join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target_port: int
) -> None:
    """Pass bytes on in both directions until one side ends."""
    target_reader, target_writer = await asyncio.open_connection(HOST, target_port)
    pumps = [
        asyncio.create_task(_pump(reader, target_writer)),
        asyncio.create_task(_pump(target_reader, writer)),
    ]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        target_writer.close()
        writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
