"""Many callers at once, and very many polls."""

import asyncio
import json
import socket
import time
from asyncio import StreamReader, StreamWriter

import psutil  # type: ignore[import-untyped] # ships no types
import pytest
from redis import Redis

from tests.processes import Service, start_service
from tests.servers import HOST, Server, start_server

CLIENTS = 64
CALLS = 12
POLLS = 10_000
POLLS_AT_ONCE = 16
MIB = 1_048_576


async def ask(reader: StreamReader, writer: StreamWriter, head: str, body: bytes = b"") -> int:
    """Send one request and return the status of its answer."""
    lines = f"{head} HTTP/1.1\r\nHost: ballast\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(lines.encode() + body)
    headers = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = headers.partition("content-length: ")[2].partition("\r\n")[0]
    await reader.readexactly(int(length))
    return int(headers.split()[1])


async def talk(port: int, name: str) -> list[tuple[int, float]]:
    """Append and read in turn; return the status and the seconds of each call."""
    reader, writer = await asyncio.open_connection(HOST, port)
    took = []
    for number in range(CALLS):
        body = json.dumps({"messages": [{"n": number}]}).encode()
        path = f"/v1/sessions/{name}/messages"
        for head, content in ((f"POST {path}", body), (f"GET {path}", b"")):
            started = time.monotonic()
            status = await ask(reader, writer, head, content)
            took.append((status, time.monotonic() - started))
    writer.close()
    await writer.wait_closed()
    return took


async def storm(service: Service) -> list[tuple[int, float]]:
    talks = (talk(service.port, f"chat-{number}") for number in range(CLIENTS))
    return [call for calls in await asyncio.gather(*talks) for call in calls]


async def watch_connections(server: Server, seen: list[int]) -> None:
    with Redis.from_url(server.url) as client:
        while True:
            ours = [each for each in client.client_list() if each["name"] == "ballast"]
            seen.append(len(ours))
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("most", [1, 4])
async def test_many_callers_share_few_connections(most: int) -> None:
    seen: list[int] = []
    with (
        start_server("valkey") as server,
        start_service(REDIS_URL=server.url, REDIS_MAX_CONNECTIONS=str(most)) as service,
    ):
        watching = asyncio.create_task(watch_connections(server, seen))
        calls = await storm(service)
        watching.cancel()

    assert {status for status, _ in calls} == {200, 201}
    assert max(seconds for _, seconds in calls) < 2
    assert 1 <= max(seen) <= most


def poll(connection: socket.socket, count: int) -> None:
    """Ask for /health many times over one connection, some at once."""
    request = b"GET /health HTTP/1.1\r\nHost: ballast\r\n\r\n"
    with connection.makefile("rb") as answers:
        for _ in range(count // POLLS_AT_ONCE):
            connection.sendall(request * POLLS_AT_ONCE)
            for _ in range(POLLS_AT_ONCE):
                assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
                length = 0
                while (line := answers.readline().lower()) != b"\r\n":
                    if line.startswith(b"content-length:"):
                        length = int(line.split()[1])
                assert answers.read(length).startswith(b'{"status":"')


def test_ten_thousand_polls_of_health_cost_no_memory() -> None:
    with (
        start_server("valkey") as server,
        start_service(REDIS_URL=server.url) as service,
        socket.create_connection((HOST, service.port)) as connection,
    ):
        service.wait_until_connected()
        process = psutil.Process(service.process.pid)
        poll(connection, POLLS_AT_ONCE * 4)
        before = process.memory_info().rss
        poll(connection, POLLS)

        assert process.memory_info().rss - before <= 2 * MIB


async def hang_up_on(port: int, name: str) -> None:
    """Ask for a session and be gone before the answer comes."""
    _, writer = await asyncio.open_connection(HOST, port)
    writer.write(f"GET /v1/sessions/{name} HTTP/1.1\r\nHost: ballast\r\n\r\n".encode())
    await writer.drain()
    writer.transport.abort()


async def test_callers_who_hang_up_leave_no_answer_for_others() -> None:
    with (
        start_server("valkey") as server,
        start_service(REDIS_URL=server.url, REDIS_MAX_CONNECTIONS="1") as service,
    ):
        service.wait_until_connected()
        for name in ("mine", "theirs"):
            assert service.http.put(f"/v1/sessions/{name}", json={}).status_code == 201
        for _ in range(100):
            await asyncio.gather(*(hang_up_on(service.port, "theirs") for _ in range(5)))
            answer = await asyncio.to_thread(service.http.get, "/v1/sessions/mine")
            assert answer.json()["id"] == "mine"
