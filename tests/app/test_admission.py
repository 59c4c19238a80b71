"""Where there is no room in memory: who is refused sees it, who is small goes on."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from random import Random

import pytest
from httpx import AsyncClient

from service import parts
from service.http import incoming, protocol
from service.http.protocol import GuardedProtocol
from service.memory.admission import REQUEST_BYTES, Admission
from service.memory.listeners import Listeners
from service.store.reading import FIRST_BYTES
from tests.app.conftest import run_on_a_socket
from tests.memory_fakes import FakeClock
from tests.polling import eventually
from tests.problems import assert_problem
from tests.servers import Server

MIB = 1_048_576
ROOM = 96 * MIB
VALUE = "/v1/sessions/a/state/k"
RAW = {"Content-Type": "image/png"}
CHAT = b'{"messages":[{"text":"%b"}]}'


@pytest.fixture
def admission() -> Admission:
    return Admission(ROOM)


@pytest.fixture
async def wire(
    valkey: Server, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncClient]:
    """Give a client of a service on a socket that has little room."""
    monkeypatch.setattr(parts, "Admission", lambda *_, **__: admission)
    async with run_on_a_socket(REDIS_URL=valkey.url) as client:
        yield client


async def raw_connection(
    client: AsyncClient,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", client.base_url.port)


async def test_who_is_still_sending_sees_the_refusal(
    wire: AsyncClient, admission: Admission
) -> None:
    others = admission.begin()
    others.add(ROOM - 5 * MIB)
    refused = await wire.put(VALUE, content=bytes(3 * MIB), headers=RAW)
    assert_problem(refused, 503, "overloaded")
    assert 1 <= int(refused.headers["Retry-After"]) <= 5
    assert refused.json()["outcome"] == "not_applied"
    assert "connection" not in refused.headers

    others.release()
    assert (await wire.put(VALUE, content=bytes(3 * MIB), headers=RAW)).status_code == 201
    assert admission.held_bytes == 0


async def test_small_reads_and_deletions_go_on_where_growth_is_refused(
    wire: AsyncClient, admission: Admission
) -> None:
    await wire.post("/v1/sessions/a/messages", content=CHAT % b"x")
    others = admission.begin()
    others.add(int(0.9 * ROOM))

    for method, path, content in (
        ("POST", "/v1/sessions/a/messages", CHAT % b"y"),
        ("PUT", "/v1/sessions/a/messages", CHAT % b"y"),
        ("PUT", VALUE, b"1"),
        ("PUT", "/v1/sessions/b", b"{}"),
        ("POST", "/v1/sessions/a/copy", b'{"to":"b"}'),
        ("POST", "/v1/sessions/a/state", b'{"set":{"k":1}}'),
    ):
        assert_problem(await wire.request(method, path, content=content), 503, "overloaded")
    for method, path, content in (
        ("GET", "/health", b""),
        ("GET", "/v1/sessions/a?include=state,messages", b""),
        ("POST", "/v1/sessions/a/state", b'{"get":["k"]}'),
        ("PATCH", "/v1/sessions/a", b"{}"),
        ("POST", "/v1/sessions/a/lease", b"{}"),
        ("DELETE", "/v1/sessions/a/messages?last=1", b""),
        ("DELETE", "/v1/sessions/a", b""),
    ):
        assert (await wire.request(method, path, content=content)).is_success, path


async def test_a_body_of_no_told_length_is_counted_as_it_comes(
    wire: AsyncClient, admission: Admission
) -> None:
    reader, writer = await raw_connection(wire)
    head = f"PUT {VALUE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode() + b"100000\r\n" + bytes(MIB) + b"\r\n")

    async def held() -> int:
        return admission.held_bytes

    await eventually(held, lambda count: count > 3 * MIB)
    others = admission.begin()
    others.add(ROOM - admission.held_bytes)
    writer.write(b"100000\r\n" + bytes(MIB) + b"\r\n0\r\n\r\n")
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
    others.release()
    writer.close()
    await eventually(held, lambda count: count == 0)


async def test_what_is_told_and_does_not_come_holds_nothing(
    wire: AsyncClient, admission: Admission
) -> None:
    writers = []
    for _ in range(4):
        _, writer = await raw_connection(wire)
        head = f"PUT {VALUE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16000000\r\n\r\n"
        writer.write(head.encode() + b"x")
        writers.append(writer)

    async def held() -> int:
        return admission.held_bytes

    await eventually(held, lambda count: count >= 4 * REQUEST_BYTES)
    assert admission.held_bytes < 5 * REQUEST_BYTES
    posted = await wire.post("/v1/sessions/a/messages", content=CHAT % b"x")
    assert posted.status_code == 201
    for writer in writers:
        writer.close()


async def test_who_trickles_a_refused_body_keeps_no_refusal_from_others(
    wire: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "SLOT_SECONDS", 0.2)
    monkeypatch.setattr(incoming, "DRAIN_PAUSE_SECONDS", 0.5)
    sockets = [await raw_connection(wire) for _ in range(40)]
    for _, writer in sockets:
        writer.write(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
    async with asyncio.timeout(1):  # its body has come: it waits for no slot
        assert_problem(await wire.post("/x", content=b"small"), 404)
    async with asyncio.timeout(5):
        for reader, writer in sockets:
            assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")
            writer.close()


async def test_a_length_of_thousands_of_digits_is_no_defect(wire: AsyncClient) -> None:
    reader, writer = await raw_connection(wire)
    writer.write(
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: %b\r\n\r\n" % (b"0" * 5_000)
    )
    async with asyncio.timeout(5):
        answer = await reader.readline()
    assert answer.split()[1] in {b"200", b"400"}
    writer.close()


async def test_an_endless_body_that_is_refused_is_read_only_so_far(
    wire: AsyncClient, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "DRAIN_BYTES", 4 * MIB)
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.2)
    others = admission.begin()
    others.add(ROOM)
    reader, writer = await raw_connection(wire)
    head = f"PUT {VALUE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())

    async def send() -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
                await writer.drain()

    sending = asyncio.create_task(send())
    async with asyncio.timeout(5):
        answer = await reader.readuntil(b"\r\n\r\n")
        await sending  # until it is hung up on
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in answer
    writer.close()


async def test_who_asks_before_sending_is_refused_without_a_byte(
    wire: AsyncClient, admission: Admission
) -> None:
    others = admission.begin()
    others.add(ROOM)
    reader, writer = await raw_connection(wire)
    head = f"PUT {VALUE} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    writer.write(f"{head}Content-Length: 1048576\r\n\r\n".encode())
    async with asyncio.timeout(5):
        answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503 ")
    writer.close()


async def test_a_large_batch_of_many_small_members_costs_more_than_its_bytes(
    wire: AsyncClient, admission: Admission
) -> None:
    members = b"".join(b'"%x":1,' % number for number in range(700_000))
    body = b'{"set":{%b"a":1}}' % members
    assert_problem(await wire.post("/v1/sessions/a/state", content=body), 413)
    assert 3 * len(body) < admission.peak_bytes < ROOM  # it was read, and not parsed
    vector = b'{"set":{"v":[%b1]}}' % (b"0.12," * 700_000)
    assert (await wire.post("/v1/sessions/a/state", content=vector)).status_code == 200


async def test_a_large_read_speaks_for_its_parts_before_they_come(
    wire: AsyncClient, admission: Admission
) -> None:
    data = Random(1).randbytes(2 * MIB)
    await wire.put(VALUE, content=data, headers=RAW)
    await wire.put(f"{VALUE}2", content=b"small", headers=RAW)
    admission.peak_bytes = 0
    fresh = {"Cache-Control": "no-cache"}
    assert (await wire.get(VALUE, headers=fresh)).content == data
    assert admission.peak_bytes > 3 * len(data)
    assert admission.held_bytes == 0

    others = admission.begin()
    others.add(ROOM - 2 * MIB)
    assert_problem(await wire.get(VALUE, headers=fresh), 503, "overloaded")
    assert (await wire.get(f"{VALUE}2", headers=fresh)).content == b"small"


@pytest.mark.parametrize("keyed", [{}, {"Idempotency-Key": "k"}])
async def test_a_batch_that_gets_much_speaks_for_it_and_writes_once(
    wire: AsyncClient, admission: Admission, keyed: dict[str, str]
) -> None:
    text = "x" * (FIRST_BYTES + 1)
    await wire.put(VALUE, json=text)
    others = admission.begin()
    others.add(ROOM - 8 * MIB)
    body = b'{"get":["k"],"set":{"n":1}}'
    refused = await wire.post("/v1/sessions/a/state", content=body, headers=keyed)
    assert_problem(refused, 503, "overloaded")
    others.release()

    done = await wire.post("/v1/sessions/a/state", content=body, headers=keyed)
    assert done.json()["values"]["k"] == text
    assert "Idempotency-Replayed" not in done.headers
    assert done.json()["etag"].endswith('-2"')


async def test_what_was_done_is_answered_though_there_is_no_room_left(
    wire: AsyncClient, admission: Admission
) -> None:
    text = "x" * 300_000
    await wire.post("/v1/sessions/a/messages", json={"messages": [{"text": text}] * 2})
    others = admission.begin()
    others.add(ROOM - 2 * REQUEST_BYTES)
    popped = await wire.delete("/v1/sessions/a/messages?last=1")
    assert popped.json()["messages"][0]["message"] == {"text": text}
    assert_problem(await wire.get("/v1/sessions/a/messages"), 503, "overloaded")


async def test_a_large_pop_takes_what_it_answers(wire: AsyncClient) -> None:
    texts = [str(number) * 700_000 for number in range(3)]
    messages = [{"text": text} for text in texts]
    await wire.post("/v1/sessions/a/messages", json={"messages": messages})
    popped = await wire.delete("/v1/sessions/a/messages?last=2")
    assert [each["message"]["text"] for each in popped.json()["messages"]] == texts[1:]
    left = await wire.get("/v1/sessions/a/messages")
    assert [each["message"]["text"] for each in left.json()["messages"]] == texts[:1]


@pytest.mark.parametrize("fresh", [{}, {"Cache-Control": "no-cache"}])
async def test_history_that_packs_to_nothing_is_read_in_parts_all_the_same(
    wire: AsyncClient, admission: Admission, fresh: dict[str, str]
) -> None:
    text = "x" * 200_000
    for _ in range(5):
        messages = [{"text": text} for _ in range(40)]
        await wire.post("/v1/sessions/a/messages", json={"messages": messages})
    await _until_sealed(wire)
    admission.peak_bytes = 0
    page = (await wire.get("/v1/sessions/a/messages?last=200", headers=fresh)).json()
    assert "messages" in page, page
    assert [each["message"]["text"] == text for each in page["messages"]] == [True] * 83
    assert page["prev"] == 118  # what an answer holds
    assert admission.peak_bytes > 3 * 12 * MIB


async def _until_sealed(client: AsyncClient) -> None:
    """Wait until history of 40 MB takes little of Redis."""

    async def used() -> int:
        used_bytes: int = (await client.get("/health")).json()["redis"]["usedMemory"]
        return used_bytes

    await eventually(used, lambda used_bytes: used_bytes < 4 * MIB, within_seconds=10)


async def slow_reader(
    client: AsyncClient,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for 4 MiB and take nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port, limit=4_096)
    request = f"GET {VALUE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    for _ in range(4):
        writer.write(request)
    return reader, writer


def watching(client: AsyncClient, kind: str) -> Callable[[], "asyncio.Future[int]"]:
    async def read() -> int:
        health = json.loads((await client.get("/health")).content)
        count: int = health["memory"]["listeners"][kind]
        return count

    return lambda: asyncio.ensure_future(read())


async def test_a_slow_reader_is_counted_until_it_is_through(
    wire: AsyncClient, admission: Admission
) -> None:
    await wire.put(VALUE, content=bytes(4 * MIB), headers=RAW)
    reader, writer = await slow_reader(wire)

    async def held() -> int:
        return admission.held_bytes

    await eventually(held, lambda count: count == 4 * MIB)
    await eventually(watching(wire, "count"), lambda count: count == 1)
    assert await watching(wire, "queued")() > 0
    for _ in range(4):
        await _read_answer(reader)
    await eventually(held, lambda count: count == 0)
    await eventually(watching(wire, "count"), lambda count: count == 0)
    writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> None:
    while await reader.readline() != b"\r\n":
        pass
    await reader.readexactly(4 * MIB)


async def test_who_takes_nothing_is_cut(
    wire: AsyncClient, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuardedProtocol, "slow_reader_seconds", 0.2)
    await wire.put(VALUE, content=bytes(4 * MIB), headers=RAW)
    _, writer = await slow_reader(wire)

    async def held() -> int:
        return admission.held_bytes

    await eventually(held, lambda count: count > 0)
    await eventually(held, lambda count: count == 0)
    await eventually(watching(wire, "count"), lambda count: count == 0)
    writer.close()


async def test_a_wait_for_a_lease_ends_when_memory_is_short(valkey: Server) -> None:
    clock = FakeClock()
    listeners = Listeners(clock)
    async with run_on_a_socket({"listeners": listeners}, REDIS_URL=valkey.url) as client:
        await client.post("/v1/sessions/a/lease")
        waiting = asyncio.create_task(client.post("/v1/sessions/a/lease", json={"wait": 20}))

        async def count() -> int:
            return len(listeners)

        await eventually(count, lambda there: there == 1)
        clock.seconds += 60
        listeners.close_idle()
        assert_problem(await waiting, 503, "overloaded")
        assert (len(listeners), listeners.closed) == (0, 1)
