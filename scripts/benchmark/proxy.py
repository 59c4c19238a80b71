"""A TCP proxy that delays: a wire of a given length in front of Redis.

What comes in is passed on after the delay, in its order, without waiting for what was sent before:
pipelining stays pipelining. Its own process: `python -m scripts.benchmark.proxy PORT TARGET MS`.
"""

import asyncio
import selectors
import sys
from collections import deque
from contextlib import suppress

from scripts.benchmark.generator import HOST

STREAM_BYTES = 1 << 20


async def pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_seconds: float
) -> None:
    """Pass one direction on; its end too."""
    loop = asyncio.get_running_loop()
    # A queue of our own: timers that are due at once come in no certain order.
    waiting: deque[bytes] = deque()

    def pass_on() -> None:
        data = waiting.popleft()
        if data:
            writer.write(data)
        else:
            writer.close()

    with suppress(ConnectionError):
        while True:
            waiting.append(data := await reader.read(STREAM_BYTES))
            loop.call_later(delay_seconds, pass_on)
            if not data:
                return
            await writer.drain()


async def serve(port: int, target: int, delay_seconds: float) -> asyncio.Server:
    """Listen; each connection gets one of its own to the target."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, target, limit=STREAM_BYTES)
        await asyncio.gather(
            pump(reader, far_writer, delay_seconds), pump(far_reader, writer, delay_seconds)
        )
        for side in (writer, far_writer):
            with suppress(ConnectionError):
                await side.wait_closed()

    return await asyncio.start_server(connect, HOST, port, limit=STREAM_BYTES)


def make_loop() -> asyncio.AbstractEventLoop:
    """Make a loop that can wait half a millisecond: those on epoll round up to whole ones."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def run(port: int, target: int, delay_seconds: float) -> None:
    """Serve for ever."""
    server = await serve(port, target, delay_seconds)
    await server.serve_forever()


def main() -> None:
    """Read the command line: our port, the port of Redis, milliseconds each way."""
    port, target, delay_ms = sys.argv[1:]
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(run(int(port), int(target), float(delay_ms) / 1e3))


if __name__ == "__main__":
    main()
