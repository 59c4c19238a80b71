"""Which Redis it is, and which processes write to it.

A server has the run id of its process, and an epoch that came to be with the first who wrote to it:
another run id means that writes may be missing, another epoch that all may be.
"""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from service.errors import ServiceError
from service.store.keys import EPOCH, NEWS, PROCESSES
from service.store.link import Link
from service.store.scripts import script

FORGET_MS = 10_000
"""Since a process was seen; it comes every 2 s."""

_ID_BYTES = 9
_KEYS = (EPOCH, PROCESSES, NEWS)


class Identity(NamedTuple):
    """A server as one connection finds it; "" = it does not tell."""

    run_id: str
    epoch: str

    @property
    def round(self) -> str:
        """The name under which all processes that find it give it back what it lacks."""
        return f"{self.run_id}:{self.epoch}"


class Peers:
    """This process among those that write to the same Redis."""

    def __init__(self) -> None:
        """Have an id that no other has, and know nobody yet."""
        self.id = secrets.token_urlsafe(_ID_BYTES)
        self.others: frozenset[str] = frozenset()
        self.enrolled: frozenset[str] = frozenset()
        """Who was there when this process enrolled last."""

    async def enrol(self, link: Link, known_epoch: str = "") -> str:
        """Say that this process is there; return the epoch. Raises ServiceError.

        Who is not told of any more has left, if the epoch is the one that is known. Else all who
        were there before have to come again.
        """
        reply = await link.run(script("enrol"), _KEYS, self._arguments())
        before = self.others
        epoch = self._hear(reply)
        if epoch == known_epoch:
            self.others -= before - _ids(reply)
        return epoch

    async def leave(self, link: Link) -> None:
        """Let nobody wait for this process; those who cannot be told will find out."""
        with suppress(ServiceError):
            await link.command("ZREM", PROCESSES, self.id, aim=PROCESSES)

    async def identify(self, connection: AbstractConnection, *, is_node: bool) -> Identity:
        """Find out which server a new connection leads to, and enrol there.

        A node of a cluster (`is_node`) is told by its run id alone: the epoch is on one of them.
        Raises RedisError, OSError.
        """
        commands: list[tuple[Any, ...]] = [("INFO", "server")]
        if not is_node:
            source = script("enrol").source
            commands += [("GET", EPOCH), ("EVAL", source, len(_KEYS), *_KEYS, *self._arguments())]
        info, *told = await _ask_all(connection, commands)
        if not told:
            return Identity(_run_id(info), "")
        # Without the right to write there is what the server had before.
        epoch, enrolled = told
        if isinstance(enrolled, list):
            return Identity(_run_id(info), self._hear(enrolled))
        return Identity(_run_id(info), epoch.decode() if isinstance(epoch, bytes) else "")

    def _arguments(self) -> tuple[str, str, int]:
        return secrets.token_urlsafe(_ID_BYTES), self.id, FORGET_MS

    def _hear(self, reply: Sequence[Any]) -> str:
        self.enrolled = _ids(reply)
        self.others |= self.enrolled - {self.id}
        return str(reply[0].decode())


def _ids(reply: Sequence[Any]) -> frozenset[str]:
    """Return which processes `enrol.lua` tells of."""
    return frozenset(each.decode() for each in reply[1])


async def _ask_all(
    connection: AbstractConnection, commands: Sequence[tuple[Any, ...]]
) -> list[object]:
    """Return a reply to each command, None where it is refused; one round trip."""
    for command in commands:
        await connection.send_command(*command, check_health=False)
    return [await _reply(connection) for _ in commands]


async def _reply(connection: AbstractConnection) -> object:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError:
        return None


def _run_id(info: object) -> str:
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else ""
    lines = (line.partition(":") for line in text.splitlines())
    return next((value for name, _, value in lines if name == "run_id"), "")
