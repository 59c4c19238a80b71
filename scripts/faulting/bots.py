"""Clients as the documentation wants them: they repeat what is safe to, and keep the books."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from itertools import count

import msgspec

from scripts.benchmark.calls import request
from scripts.faulting.ledger import Fate
from scripts.faulting.scene import NO_ANSWER, NO_SERVER, READ, Scene, detail_of, fate_of, label_of
from scripts.storming.bot import LONELY_SECONDS, NO_CACHE, PAUSE_SCALE
from scripts.storming.wire import NoAnswer, NoServer, Reply, Wire

HANG_SECONDS = 10.0
"""A call that takes so long hangs."""

PATIENCE_SECONDS = 5.0
STRIDE = 1_000_000
PAUSE_SECONDS = 0.002
"""Between the calls of a bot: it shares the machine with who answers."""

SAID = {HTTPStatus.OK, HTTPStatus.NOT_FOUND}
"""Of a read: what there is, or that there is nothing."""


class Caller:
    """Calls services, each over a connection of its own, and notes every answer."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._wires: dict[int, Wire] = {}

    async def read(self, port: int, path: str, headers: str = "") -> Reply | None:
        """Read once; None = it did not say what there is."""
        try:
            reply = await self.call(port, request("GET", path, headers=headers))
        except NoServer:
            return None
        return reply if reply and reply.status in SAID else None

    async def call(self, port: int, call: bytes) -> Reply | None:
        """Send once; None = no answer, and nobody knows. Raises NoServer."""
        wire, began = self._wires.setdefault(port, Wire(port)), time.monotonic()
        label, detail = NO_ANSWER, ""
        try:
            async with asyncio.timeout(HANG_SECONDS):
                reply = await wire.call(call)
        except NoServer:
            label = NO_SERVER
            raise
        except (NoAnswer, TimeoutError):
            return None
        else:
            is_read = call.startswith(b"GET ") and reply.status in SAID
            label, detail = READ if is_read else label_of(reply), detail_of(reply)
            return reply
        finally:
            self.scene.answers.note(label, time.monotonic() - began, detail)

    async def fate(self, port: int, call: bytes) -> Fate:
        """Send a write once, pause if the answer asks for it, and say what became of it."""
        pause_seconds, fate = LONELY_SECONDS, Fate.REFUSED
        try:
            reply = await self.call(port, call)
        except NoServer:
            await asyncio.sleep(pause_seconds)
            return fate
        if reply is None:
            return Fate.UNKNOWN
        told = fate_of(reply)
        if told is None and reply.code != "idempotency_in_progress":
            self.scene.expect(holds=False, otherwise=f"a write was answered {label_of(reply)}")
        if told is not Fate.ACKNOWLEDGED:
            await asyncio.sleep((reply.retry_seconds or 1) * PAUSE_SCALE)
        return told or Fate.REFUSED

    def close(self) -> None:
        """Hang up."""
        for wire in self._wires.values():
            wire.close()


class Bot(Caller):
    """Writes messages to a session that others write to, and to one of its own, and values.

    Each of its calls goes to any of its `ports`. What it may have to repeat is for its own session
    alone: a session remembers 16 keyed calls, and others would have made more meanwhile.
    """

    def __init__(self, scene: Scene, number: int, session: str, ports: Sequence[int]) -> None:
        super().__init__(scene)
        self._shared, self._own = session, f"own-{number}"
        self._numbers = count(number * STRIDE + 1)
        self._ports = ports
        self._last_ports: dict[str, int] = {}
        own, gone = f"/v1/sessions/{session}/state/bot-{number}", f"/v1/sessions/gone-{number}"
        # What is deleted of the second is the session.
        self._deleted = {own: own, f"{gone}/state/value": gone}

    async def work(self) -> None:
        """Write and read until it is over."""
        acts: tuple[Callable[[], Awaitable[None]], ...] = (
            *(self._append_keyed, self._append_keyed, self._append_plainly),
            *(self._put, self._put, self._read, self._delete),
        )
        while not self.scene.is_over:
            await self.scene.random.choice(acts)()
            await asyncio.sleep(PAUSE_SECONDS)
        self.close()

    def _port(self) -> int:
        return self.scene.random.choice(self._ports)

    async def _append_keyed(self) -> None:
        """Append, and repeat it with its key until it is acknowledged."""
        number = next(self._numbers)
        call = append_call(self._own, number, key=f"key-{number}")
        while not self.scene.is_hopeless(PATIENCE_SECONDS):
            fate = await self.fate(self._port(), call)
            if fate is Fate.ACKNOWLEDGED:
                self.scene.ledger.note_message(self._own, number, fate)
                return
        self.scene.ledger.note_message(self._own, number, Fate.UNKNOWN)

    async def _append_plainly(self) -> None:
        """Append once: what was refused has to stay away."""
        number = next(self._numbers)
        fate = await self.fate(self._port(), append_call(self._shared, number))
        self.scene.ledger.note_message(self._shared, number, fate)

    async def _put(self) -> None:
        path, number = self._path(), next(self._numbers)
        port = self._last_ports[path] = self._port()
        fate = await self.fate(port, request("PUT", path, b"%d" % number))
        self.scene.ledger.note_value(path, number, fate)

    async def _delete(self) -> None:
        path = self._path()
        port = self._last_ports[path] = self._port()
        fate = await self.fate(port, request("DELETE", self._deleted[path]))
        self.scene.ledger.note_value(path, None, fate)

    async def _read(self) -> None:
        """Read a value: from Redis anywhere, or from the memory of the process that wrote last."""
        path, is_fresh = self._path(), self.scene.random.random() < 1 / 2
        port = self._port() if is_fresh else self._last_ports.get(path, self._ports[0])
        reply = await self.read(port, path, NO_CACHE * is_fresh)
        if reply is None:
            return
        self.scene.untrue += any(self.scene.ledger.check_value(path, value_of(reply)))

    def _path(self) -> str:
        return self.scene.random.choice(tuple(self._deleted))


def append_call(session: str, number: int, *, key: str = "") -> bytes:
    """Write the append of a message that only has a number."""
    headers = f"Idempotency-Key: {key}\r\n" if key else ""
    path = f"/v1/sessions/{session}/messages"
    return request("POST", path, b'{"messages":[{"n":%d}]}' % number, headers=headers)


def value_of(reply: Reply) -> int | None:
    """Return the number that a value is; None = there is none."""
    if reply.status == HTTPStatus.NOT_FOUND:
        return None
    return msgspec.json.decode(reply.body, type=int)
