"""A bot: sends a call until it is answered, pauses when it is refused, and keeps the books."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

import msgspec

from scripts.benchmark.calls import request
from scripts.storming.ledger import Ledger, Recipe
from scripts.storming.wire import NoAnswer, NoServer, Reply, Wire

PAUSE_SCALE = 0.1
"""Of the seconds that a refusal asks for: a storm is a rehearsal, nobody waits for it that long."""

LONELY_SECONDS = 0.05
PAGE_MESSAGES = 100
NO_CACHE = "Cache-Control: no-cache\r\n"


class NotRead(Exception):
    """The service did not say what there is."""


class Appended(msgspec.Struct):
    """What an append is answered."""

    first_seq: int


class Stored(msgspec.Struct):
    """One message as the service gives it back; its text is kept to the byte."""

    seq: int
    message: msgspec.Raw


class Page(msgspec.Struct):
    """A page of messages; `next` is the seq to go on after."""

    messages: list[Stored]
    next: int | None


@dataclass(slots=True)
class Tally:
    """What clients saw.

    `shed` = answers 503, `bare` = those that do not say when to come again, `unseen` = calls
    without an answer, `cut` = answers without their end, `garbled` = parts that were wrong; `codes`
    = answers that are no 2xx, by their status and code.
    """

    acknowledged: int = 0
    shed: int = 0
    bare: int = 0
    unseen: int = 0
    cut: int = 0
    garbled: int = 0
    codes: Counter[str] = field(default_factory=Counter)

    def note(self, reply: Reply) -> None:
        """Count an answer."""
        if reply.status >= HTTPStatus.BAD_REQUEST:
            self.codes[f"{reply.status} {reply.code}"] += 1
        if reply.status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.shed += 1
            self.bare += reply.retry_seconds is None


@dataclass(slots=True, kw_only=True)
class Scene:
    """What all bots share; `is_over` is asked before each call."""

    port: int
    is_over: Callable[[], bool]
    ledger: Ledger = field(default_factory=Ledger)
    tally: Tally = field(default_factory=Tally)


class Bot:
    """One client with one connection."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._wire = Wire(scene.port)

    async def append(self, session: str, recipes: Sequence[Recipe]) -> None:
        """Append messages; they are in the ledger when the service has acknowledged them."""
        body = b'{"messages":[' + b",".join(recipe.text() for recipe in recipes) + b"]}"
        call = request("POST", f"/v1/sessions/{session}/messages", body)
        ledger = self._scene.ledger
        reply = await self.send(call, doubt=partial(ledger.doubt_messages, session, recipes))
        if reply and reply.status == HTTPStatus.CREATED:
            first_seq = msgspec.json.decode(reply.body, type=Appended).first_seq
            ledger.note_messages(session, first_seq, recipes)
            self._scene.tally.acknowledged += len(recipes)

    async def put(self, session: str, recipe: Recipe) -> None:
        """Set the one state value of a session."""
        ledger = self._scene.ledger
        call = request("PUT", value_path(session), recipe.text())
        reply = await self.send(call, doubt=partial(ledger.doubt_value, session, recipe))
        if reply and reply.status in {HTTPStatus.CREATED, HTTPStatus.NO_CONTENT}:
            ledger.note_value(session, recipe)
            self._scene.tally.acknowledged += 1

    async def read_value(self, session: str, headers: str = "") -> bytes | None:
        """Read it; None = the service says that there is none. Raises NotRead."""
        reply = await self._read(value_path(session), headers)
        return reply.body if reply.status == HTTPStatus.OK else None

    async def read_messages(self, session: str, headers: str = "") -> dict[int, bytes]:
        """Read all messages of a session by their seq, page by page. Raises NotRead."""
        found: dict[int, bytes] = {}
        after: int | None = 0
        while after is not None:
            path = f"/v1/sessions/{session}/messages?after={after}&limit={PAGE_MESSAGES}"
            page = msgspec.json.decode((await self._read(path, headers)).body, type=Page)
            found |= {stored.seq: bytes(stored.message) for stored in page.messages}
            after = page.next
        return found

    async def _read(self, path: str, headers: str) -> Reply:
        reply = await self.send(request("GET", path, headers=headers))
        if reply is None or reply.status not in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
            raise NotRead
        return reply

    async def send(self, call: bytes, doubt: Callable[[], None] = lambda: None) -> Reply | None:
        """Send a call until it is answered; `doubt` is told when it may have been applied.

        None = all is over before it was.
        """
        while not self._scene.is_over():
            pause_seconds = LONELY_SECONDS
            try:
                reply = await self._wire.call(call)
            except NoServer:
                pass
            except NoAnswer:
                doubt()
                self._scene.tally.unseen += 1
            else:
                self._scene.tally.note(reply)
                if reply.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    return reply
                if b'"unknown"' in reply.body:
                    doubt()
                pause_seconds = (reply.retry_seconds or 1) * PAUSE_SCALE
            await asyncio.sleep(pause_seconds)
        return None

    def close(self) -> None:
        """Hang up."""
        self._wire.close()


def value_path(session: str) -> str:
    """Where the one state value of a session is."""
    return f"/v1/sessions/{session}/state/value"
