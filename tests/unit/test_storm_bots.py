"""The bots of a storm against a server that answers what a test wants."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from scripts.storming import hostile
from scripts.storming.bot import Bot, Scene, Tally
from scripts.storming.hostile import drip_bodies, sip_answers
from scripts.storming.ledger import Recipe, Verdict
from scripts.storming.reading import read_back
from tests.servers import HOST, free_port

ONE = Recipe(1, 100)
LARGE = Recipe(2, 20_000)


def answer(status: int, body: bytes = b"", head: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\n%bcontent-length: %d\r\n\r\n%b" % (status, head, len(body), body)


REFUSED = answer(503, b'{"outcome":"not_applied"}', b"Retry-After: 0\r\n")
IN_DOUBT = answer(503, b'{"outcome":"unknown"}', b"retry-after: 0\r\n")
BARE = answer(503)
LARGE_BODY = answer(413, b'{"code":"too_large"}')


class Cut(bytes):
    """An answer without its end; the connection ends with it."""


NO_ANSWER = Cut(b"HTTP/1.1 20")
APPENDED = answer(201, b'{"first_seq":5,"last_seq":5}')
WRITTEN = answer(204, head=b"connection: close\r\n")


def page(text: bytes, following: bytes = b"null") -> bytes:
    body = b'{"messages":[{"seq":5,"at":"x","message":%b}],"next":%b}' % (text, following)
    return answer(200, body)


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[Scene, list[bytes]]]:
    """Answer in this order, each complete request once; the scene is over when nothing is left."""
    left, received = list(answers), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while left and (head := await read_request(reader)):
            received.append(head)
            text = left.pop(0)
            writer.write(text)
            if isinstance(text, Cut):
                break
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    yield Scene(port=port, is_over=lambda: not left), received
    server.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Return the head of the next request and drop its body; of an endless one only the head."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        return b""
    return head


async def append(scene: Scene) -> None:
    with closing(Bot(scene)) as bot:
        await bot.append("chat", [ONE])


async def put(scene: Scene) -> None:
    with closing(Bot(scene)) as bot:
        await bot.put("login", ONE)


async def test_an_append_is_in_the_ledger_when_it_is_acknowledged() -> None:
    async with answering(APPENDED, page(ONE.text()), page(ONE.text())) as (scene, received):
        await append(scene)
        assert scene.ledger.check_messages("chat", {5: ONE.text()}) == Verdict(checked=1)
        assert await read_back(scene, 1) == Verdict(checked=2)
    assert scene.tally.acknowledged == 1
    assert received[0].startswith(b"POST /v1/sessions/chat/messages ")
    assert b"Cache-Control: no-cache" in received[1]
    assert b"Cache-Control" not in received[2]


async def test_a_refused_call_is_sent_again_and_counted() -> None:
    async with answering(REFUSED, BARE, WRITTEN) as (scene, received):
        await put(scene)
    assert len(received) == 3
    assert (scene.tally.shed, scene.tally.bare, scene.tally.unseen) == (2, 1, 0)
    assert scene.ledger.values["login"].acknowledged == ONE


async def test_a_refusal_that_was_not_applied_leaves_no_doubt() -> None:
    async with answering(REFUSED) as (scene, _):
        await put(scene)
    assert scene.ledger.check_value("login", ONE.text()) == Verdict(changed=1)


async def test_an_unknown_outcome_leaves_a_doubt() -> None:
    for said in (IN_DOUBT, NO_ANSWER):
        async with answering(said) as (scene, _):
            await put(scene)
            await append(scene)
        assert scene.ledger.check_value("login", ONE.text()) == Verdict()
        assert scene.tally.acknowledged == 0


async def test_a_call_that_sees_no_answer_is_counted() -> None:
    async with answering(NO_ANSWER, WRITTEN) as (scene, _):
        await put(scene)
    assert (scene.tally.unseen, scene.tally.shed, scene.tally.acknowledged) == (1, 0, 1)


async def test_where_nobody_listens_a_bot_waits_and_counts_nothing() -> None:
    turns = iter([False, False, True])
    scene = Scene(port=free_port(), is_over=lambda: next(turns))
    await put(scene)
    assert scene.tally == Tally()


async def test_another_refusal_is_no_retry_and_is_named() -> None:
    async with answering(LARGE_BODY, LARGE_BODY) as (scene, received):
        await put(scene)
        await append(scene)
    assert len(received) == 2
    assert scene.tally.codes == {"413 too_large": 2}
    assert not scene.ledger.logs["chat"].acknowledged


async def test_reading_back_finds_what_is_lost_and_what_is_changed() -> None:
    async with answering(answer(404, b"{}"), answer(200, b"{}")) as (scene, _):
        scene.ledger.note_value("login", ONE)
        assert await read_back(scene, 1) == Verdict(checked=2, lost=1, changed=1)


async def test_what_the_service_does_not_tell_is_not_read_and_not_lost() -> None:
    async with answering(BARE) as (scene, _):
        scene.ledger.note_messages("chat", 1, [ONE])
        assert await read_back(scene, 1) == Verdict(unread=2)


async def test_pages_are_read_to_the_last() -> None:
    last = answer(200, b'{"messages":[],"next":null}')
    async with answering(page(ONE.text(), b"5"), last) as (scene, received):
        with closing(Bot(scene)) as bot:
            assert await bot.read_messages("chat") == {5: ONE.text()}
    assert b"after=0&" in received[0]
    assert b"after=5&" in received[1]


async def test_an_endless_body_ends_with_its_refusal() -> None:
    async with answering(REFUSED, answer(413)) as (scene, received):
        await drip_bodies(scene, "drip")
    assert b"Transfer-Encoding: chunked" in received[0]
    assert (scene.tally.shed, scene.tally.unseen) == (1, 0)
    assert sum(scene.tally.codes.values()) == 2


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "SIP_SECONDS", 0)


@pytest.mark.usefixtures("at_once")
async def test_a_slow_reader_compares_what_it_takes() -> None:
    wrong = answer(200, LARGE.text()[:-1] + b"]")
    async with answering(REFUSED, answer(200, LARGE.text()), wrong) as (scene, _):
        scene.is_over = lambda: scene.tally.garbled > 0
        await sip_answers(scene, "file", LARGE)
    assert scene.tally == Tally(shed=1, garbled=1, codes=Counter({"503 ": 1}))


@pytest.mark.usefixtures("at_once")
async def test_a_slow_reader_whose_answer_is_cut_is_counted() -> None:
    async with answering(Cut(answer(200, LARGE.text())[:-1])) as (scene, _):
        scene.is_over = lambda: scene.tally.cut > 0
        await sip_answers(scene, "file", LARGE)
    assert scene.tally == Tally(cut=1)


@pytest.mark.usefixtures("at_once")
async def test_hostile_clients_count_what_they_are_not_told() -> None:
    async with answering(NO_ANSWER, NO_ANSWER) as (scene, received):
        scene.is_over = lambda: len(received) == 1
        await sip_answers(scene, "file", LARGE)
        scene.is_over = lambda: len(received) == 2
        await drip_bodies(scene, "drip")
    assert scene.tally == Tally(unseen=2)


async def test_hostile_clients_wait_where_nobody_listens() -> None:
    turns = iter([False, True])
    scene = Scene(port=free_port(), is_over=lambda: next(turns))
    await drip_bodies(scene, "drip")
    assert scene.tally == Tally()
