"""Heads that are too large or too slow, and sockets that never say a word."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

import pytest
from httpx import AsyncClient

from service.http import protocol
from service.http.incoming import BODY_IDLE_SECONDS
from service.http.protocol import (
    HEAD_BYTES,
    HEAD_SECONDS,
    MOST_PIPELINED,
    SILENT_SECONDS,
    GuardedProtocol,
)
from tests.app.conftest import run_on_a_socket
from tests.polling import eventually
from tests.servers import Server

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
BODY = b'{"messages":[{"x":1}]}'
APPEND = b"POST /v1/sessions/a/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 22\r\n\r\n"

T = TypeVar("T")


async def test_an_endless_head_is_refused_and_who_goes_on_is_hung_up_on(
    wire: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.base_url.port)
    writer.write(REQUEST + b"X: ")

    async def send() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 8_192)
                await writer.drain()

    sending = asyncio.create_task(send())
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
        await sending
    writer.close()


async def test_a_head_slightly_too_large_sees_its_answer(wire: AsyncClient) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.base_url.port)
    writer.write(REQUEST + b"X: " + b"x" * HEAD_BYTES)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"code":"headers_too_large"' in answer


@pytest.mark.parametrize("sent", [b"", REQUEST, b"G"])
async def test_who_does_not_finish_a_head_is_hung_up_on(
    wire: AsyncClient, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(GuardedProtocol, "head_seconds", 0.1)
    monkeypatch.setattr(GuardedProtocol, "silent_seconds", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.base_url.port)
    writer.write(sent)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_a_connection_is_kept_between_whole_requests(
    wire: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuardedProtocol, "head_seconds", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.base_url.port)
    for _ in range(3):
        writer.write(REQUEST + b"\r\n")
        async with asyncio.timeout(5):
            answer = await reader.readuntil(b'{"status":"ok"}')
        assert answer.startswith(b"HTTP/1.1 200 ")
        await asyncio.sleep(0.06)
    writer.close()


@pytest.fixture
def armed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the deadlines, in seconds, as they are set while the test runs."""
    seconds: list[float] = []
    arm = GuardedProtocol._arm

    def noting(guard: GuardedProtocol, after: float, act: Callable[[], None]) -> None:
        seconds.append(after)
        arm(guard, after, act)

    monkeypatch.setattr(GuardedProtocol, "_arm", noting)
    return seconds


async def test_only_what_does_not_come_whole_is_waited_for(
    wire: AsyncClient, armed: list[float]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.base_url.port)

    async def armed_after(sent: bytes) -> list[float]:
        before = len(armed)
        writer.write(sent)
        if b'"x":1}]}' in sent:
            await reader.readuntil(b"HTTP/1.1 201 ")
        else:
            await eventually(lambda: _later(len(armed)), lambda count: count > before)
        return armed[before:]

    assert await eventually(lambda: _later(armed), bool) == [SILENT_SECONDS]
    assert await armed_after(APPEND + BODY) == []
    assert await armed_after(APPEND + BODY + APPEND + BODY) == []
    await reader.readuntil(b"HTTP/1.1 201 ")
    assert await armed_after(APPEND[:9]) == [HEAD_SECONDS]
    assert await armed_after(APPEND[9:]) == [BODY_IDLE_SECONDS]
    assert await armed_after(BODY[:9]) == [BODY_IDLE_SECONDS]
    assert await armed_after(BODY[9:] + APPEND + BODY + APPEND[:9]) == [HEAD_SECONDS]
    writer.close()


async def test_each_head_has_a_deadline_of_its_own(wire: AsyncClient, armed: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.base_url.port)
    writer.write(APPEND[:9])
    for _ in range(3):  # each read ends in a head, never the same
        writer.write(APPEND[9:] + BODY + APPEND[:9])
        await reader.readuntil(b"HTTP/1.1 201 ")

    assert armed.count(HEAD_SECONDS) >= 3
    writer.close()


async def test_a_body_that_is_not_read_has_not_stalled(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuardedProtocol, "body_seconds", 0.6)
    body = b'{"messages":[{"x":"%s"}]}' % (b"y" * 4_000_000)
    head = APPEND.replace(b"22", b"%d" % len(body))
    async with run_on_a_socket(REDIS_URL=own_server.url) as wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.base_url.port)
        own_server.pause()
        try:
            # The second is not read to its end while the first waits for Redis, some 1.5 s.
            writer.write(APPEND + BODY + head + body)
            for _ in range(2):
                async with asyncio.timeout(5):
                    status = await reader.readuntil(b"\r\n")
                    await reader.readuntil(b"}")
                assert status.startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 413 ")), status
        finally:
            own_server.resume()
        writer.close()


async def _later(value: T) -> T:
    return value


async def test_more_requests_at_once_than_may_wait_end_the_connection(wire: AsyncClient) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.base_url.port)
    writer.write((REQUEST + b"\r\n") * (MOST_PIPELINED + 1))
    async with asyncio.timeout(5):
        for _ in range(MOST_PIPELINED + 1):
            await reader.readuntil(b'{"status":"ok"}')

    writer.write((REQUEST + b"\r\n") * 5_000)
    async with asyncio.timeout(5):
        answers = await reader.read()
    assert answers.count(b"HTTP/1.1 200 ") <= MOST_PIPELINED + 1
    assert b"HTTP/1.1 400 " in answers
    writer.close()


async def test_a_head_of_very_many_short_lines_is_not_kept(wire: AsyncClient) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.base_url.port)
    writer.write(REQUEST + b"a:\r\n" * 10_000)
    async with asyncio.timeout(5):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert answer.count(b"HTTP/1.1") == 1
    writer.close()


async def test_empty_lines_are_no_request(
    wire: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuardedProtocol, "silent_seconds", 0.2)
    for before in (b"", REQUEST + b"\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.base_url.port)
        writer.write(before)
        if before:
            await reader.readuntil(b'{"status":"ok"}')
        writer.write(b"\r\n")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
