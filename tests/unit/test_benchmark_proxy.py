import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from scripts.benchmark.generator import HOST
from scripts.benchmark.proxy import make_loop, serve
from tests.polling import eventually
from tests.servers import free_port

DELAY_SECONDS = 0.02
PIPELINED = 200


async def others() -> set[asyncio.Task[None]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@asynccontextmanager
async def wire(
    delay_seconds: float,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection through the proxy to a server that gives back what it is given."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()
        await writer.wait_closed()

    target, port = free_port(), free_port()
    echoing = await asyncio.start_server(echo, HOST, target)
    async with echoing, await serve(port, target, delay_seconds):
        reader, writer = await asyncio.open_connection(HOST, port)
        yield reader, writer
        writer.close()
        assert await reader.read() == b""  # the end of one side reaches the other
        await writer.wait_closed()
        await eventually(others, lambda tasks: not tasks)


def run(test: object) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(test)  # type: ignore[arg-type]


def test_a_round_trip_takes_the_delay_twice() -> None:
    async def test() -> None:
        async with wire(DELAY_SECONDS) as (reader, writer):
            started = time.perf_counter()
            writer.write(b"ping")
            assert await reader.readexactly(4) == b"ping"
            assert time.perf_counter() - started >= 2 * DELAY_SECONDS

    run(test())


def test_what_is_pipelined_waits_once_and_keeps_its_order() -> None:
    sent = [b"%06d" % n for n in range(PIPELINED)]

    async def test() -> None:
        async with wire(DELAY_SECONDS) as (reader, writer):
            started = time.perf_counter()
            for message in sent:
                writer.write(message)
                await asyncio.sleep(0)
            assert await reader.readexactly(6 * PIPELINED) == b"".join(sent)
            # One after the other they would take 200 delays, twice.
            assert time.perf_counter() - started < PIPELINED * DELAY_SECONDS

    run(test())
