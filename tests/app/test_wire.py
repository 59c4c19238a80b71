"""What arrives byte by byte at the socket: requests that no client library would send."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from httpx import AsyncClient

from service.http.protocol import GuardedProtocol
from tests.problems import assert_problem

Talk = Callable[[bytes], Awaitable[bytes]]


@pytest.fixture
def talk(wire: AsyncClient) -> Talk:
    """Give a way to send bytes over a connection of their own and read all that comes back."""

    async def talk(sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.base_url.port)
        try:
            writer.write(sent)
            await writer.drain()
            async with asyncio.timeout(5):
                return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    return talk


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    fixed = (b"Host: localhost", b"Connection: close")
    return b"\r\n".join([line, *fixed, *headers, b"", body])


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /v1/sessions/.. HTTP/1.1", b"400"),
        (b"GET /v1/sessions/../sessions/a HTTP/1.1", b"404"),
        (b"GET /v1/sessions/a%zz HTTP/1.1", b"400"),
        (b"GET /v1/sessions/a% HTTP/1.1", b"400"),
        (b"GET /v1/sessions/a?%zz HTTP/1.1", b"400"),
        (b"GET /v1/sessions/a?x=\xff HTTP/1.1", b"400"),
        (b"GET http://elsewhere/v1/sessions/a HTTP/1.1", b"404"),
        (b"GET /v1/sessions/a HTTP/1.0", b"404"),
        (b"PUT /v1/sessions/\xc3\xa9 HTTP/1.1", b"400"),
        (b"PUT /v1/sessions/\x00 HTTP/1.1", b"400"),
        (b"nonsense", b"400"),
        (b"GET /v1/sessions/a HTTP/9.9", b"400"),
    ],
)
async def test_an_odd_request_line_gets_an_answer(talk: Talk, line: bytes, status: bytes) -> None:
    answer = await talk(request(line))

    assert answer.split(b" ")[1] == status
    assert b"Traceback" not in answer


@pytest.mark.parametrize(
    "headers",
    [
        (b"Content-Length: -1",),
        (b"Content-Length: 1, 2",),
        (b"Content-Length: " + b"9" * 5_000,),
        (b"Content-Length: 2", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 2", b"Content-Length: 3"),
    ],
)
async def test_a_length_that_cannot_be_is_refused(talk: Talk, headers: tuple[bytes, ...]) -> None:
    line = b"PUT /v1/sessions/a HTTP/1.1"
    answer = await talk(request(line, *headers, body=b"{}"))

    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_body_that_is_told_to_be_too_large_is_answered(wire: AsyncClient) -> None:
    for path in ("messages", "state"):
        response = await wire.post(f"/v1/sessions/a/{path}", content=b" " * 17_000_000)
        assert assert_problem(response, 413)["limit"] == 16_777_216
    assert (await wire.get("/health/live")).status_code == 200


async def test_a_body_that_turns_out_to_be_too_large_is_answered(wire: AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 1_000_000

    response = await wire.post("/v1/sessions/a/messages", content=chunks())
    assert assert_problem(response, 413)["limit"] == 16_777_216


async def test_an_answer_comes_though_the_body_was_not_wanted(wire: AsyncClient) -> None:
    body = b" " * 5_000_000
    assert_problem(await wire.post("/v1/sessions/a", content=body), 405)
    assert_problem(await wire.put("/v1/nothing", content=body), 404)
    assert_problem(await wire.put("/v1/sessions/%00", content=body), 400)


async def test_a_body_that_stops_coming_is_408(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuardedProtocol, "body_seconds", 0.05)
    line = b"POST /v1/sessions/a/messages HTTP/1.1"
    answer = await talk(request(line, b"Content-Length: 99", body=b"{"))

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer


async def test_a_stored_content_type_cannot_add_headers_to_an_answer(wire: AsyncClient) -> None:
    smuggled = "a/b\r\nX-Smuggled: yes\r\n\r\n<script>"
    body = {"set": {"k": {"$raw": "", "type": smuggled}}}

    assert_problem(await wire.post("/v1/sessions/a/state", json=body), 400)
    assert_problem(await wire.get("/v1/sessions/a/state/k"), 404)


async def test_a_client_that_leaves_in_the_middle_of_a_body_does_no_harm(
    talk: Talk, wire: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", wire.base_url.port)
    head = b"POST /v1/sessions/a/messages HTTP/1.1\r\nHost: b\r\nContent-Length: 99\r\n\r\n{"
    writer.write(head)
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert_problem(await wire.get("/v1/sessions/a"), 404)
    assert "defect" not in caplog.text
