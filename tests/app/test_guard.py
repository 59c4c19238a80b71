"""Heads that are too large or too slow, and sockets that never say a word."""

import asyncio
import contextlib

import pytest
from httpx import AsyncClient

from service.http.protocol import HEAD_BYTES, GuardedProtocol

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


async def test_an_endless_head_is_refused_before_it_fills_the_memory(wire: AsyncClient) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.base_url.port)
    sent = 0
    writer.write(REQUEST + b"X: ")
    try:
        while sent < 64 * HEAD_BYTES:
            writer.write(b"x" * 8_192)
            sent += 8_192
            await writer.drain()
    except ConnectionError:
        pass
    answer = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(5):
            answer = await reader.read(4_096)
    writer.close()

    assert sent < 64 * HEAD_BYTES
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")


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
