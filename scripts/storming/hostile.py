"""Clients that no bot should be: bodies without an end, answers that are hardly taken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from scripts.benchmark.calls import KEY, request
from scripts.storming.bot import LONELY_SECONDS, NO_CACHE, PAUSE_SCALE, Scene, value_path
from scripts.storming.ledger import Recipe, noise
from scripts.storming.wire import NARROW_BYTES, NoAnswer, NoServer, Reply, Wire

PIECE_BYTES = 262_144
PIECE_SECONDS = 0.01
SIP_SECONDS = 0.1


async def drip_bodies(scene: Scene, session: str) -> None:
    """Send a body that does not end until it is answered; begin again until all is over."""
    while not scene.is_over():
        async with one_exchange(scene) as wire:
            reply = await send_endlessly(scene, wire, session)
            if reply:
                scene.tally.note(reply)
                await asyncio.sleep((reply.retry_seconds or 0) * PAUSE_SCALE)


async def send_endlessly(scene: Scene, wire: Wire, session: str) -> Reply | None:
    """Send piece after piece until there is an answer; None = all is over before."""
    head = (
        f"PUT {value_path(session)} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    piece = b"%x\r\n%b\r\n" % (PIECE_BYTES, noise()[:PIECE_BYTES])
    async with wire.talk() as (reader, writer):
        answer = asyncio.create_task(wire.read_head(reader))
        try:
            writer.write(head.encode())
            while not answer.done() and not scene.is_over():
                if writer.transport.get_write_buffer_size() < PIECE_BYTES:
                    writer.write(piece)
                await asyncio.wait({answer}, timeout=PIECE_SECONDS)
            return await answer if answer.done() else None
        finally:
            answer.cancel()


async def sip_answers(scene: Scene, session: str, recipe: Recipe) -> None:
    """Ask for a large value and take it slowly, again and again until all is over."""
    # Past the hot tier: answers out of it are one object, however many clients take it.
    expected, call = recipe.text(), request("GET", value_path(session), headers=NO_CACHE)
    while not scene.is_over():
        async with one_exchange(scene) as wire, wire.talk() as (reader, writer):
            writer.write(call)
            reply = await wire.read_head(reader)
            scene.tally.note(reply)
            if reply.retry_seconds is None:
                await take_slowly(scene, reader, expected)
            else:
                await asyncio.sleep(reply.retry_seconds * PAUSE_SCALE)


async def take_slowly(scene: Scene, reader: asyncio.StreamReader, expected: bytes) -> None:
    """Take an answer sip by sip; what comes must be what was written, and it may be cut."""
    taken = 0
    while taken < len(expected) and not scene.is_over():
        await asyncio.sleep(SIP_SECONDS)
        try:
            sip = await reader.read(NARROW_BYTES)
        except OSError:
            sip = b""
        if not sip:
            scene.tally.cut += 1
            return
        scene.tally.garbled += sip != expected[taken : taken + len(sip)]
        taken += len(sip)


@asynccontextmanager
async def one_exchange(scene: Scene) -> AsyncIterator[Wire]:
    """Give a connection for one exchange; who gets no answer is counted."""
    wire = Wire(scene.port, narrow=True)
    try:
        yield wire
    except NoServer:
        await asyncio.sleep(LONELY_SECONDS)
    except NoAnswer:
        scene.tally.unseen += 1
    finally:
        wire.close()
