"""What is written in one turn of the loop leaves together, over a real pair of sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest

from service.http import protocol
from service.http.protocol import TurnTransport


class Writer(asyncio.Protocol):
    """A protocol that writes through a TurnTransport and notes when it has to pause."""

    is_paused = is_sent_to = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        loop = asyncio.get_running_loop()
        ours = cast("asyncio.Transport", transport)
        self.transport = TurnTransport(ours, loop, lambda: self.is_sent_to)

    def pause_writing(self) -> None:
        self.is_paused = True


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Writer, socket.socket]]:
    """Give a writer and the other end of its socket, which nobody reads by itself."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    _, writer = await asyncio.get_running_loop().connect_accepted_socket(Writer, ours)
    yield writer, theirs
    writer.transport.close()
    theirs.close()


async def test_pieces_leave_together_at_the_end_of_the_turn(
    pair: tuple[Writer, socket.socket],
) -> None:
    writer, reader = pair
    writer.transport.write(b"head ")
    writer.transport.write(b"body")
    with pytest.raises(BlockingIOError):
        reader.recv(99)

    await asyncio.sleep(0)
    assert reader.recv(99) == b"head body"


async def test_what_was_written_is_sent_before_the_end(pair: tuple[Writer, socket.socket]) -> None:
    writer, reader = pair
    writer.transport.write(b"last words")
    writer.transport.close()
    writer.transport.write(b"too late")
    await asyncio.sleep(0)

    assert reader.recv(99) == b"last words"


async def test_who_writes_much_in_one_turn_is_told_to_pause(
    pair: tuple[Writer, socket.socket],
) -> None:
    writer, _ = pair
    chunks = 0
    while not writer.is_paused:
        writer.transport.write(b"x" * 4_096)
        chunks += 1
        assert chunks < 1_000


async def test_who_is_still_sending_hears_the_end_before_the_socket_is_closed(
    pair: tuple[Writer, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.05)
    writer, reader = pair
    writer.is_sent_to = True
    reader.send(b"more of a body")
    writer.transport.write(b"answer")
    writer.transport.close()

    assert writer.transport.is_closing()
    await asyncio.sleep(0)
    reader.send(b"and more")
    assert reader.recv(99) == b"answer"
    assert reader.recv(99) == b""
    await asyncio.sleep(0.1)
    with pytest.raises(OSError):  # noqa: PT011 # broken pipe, or reset
        reader.send(b"too late")
