"""Copies of sessions' state: in the Redis of the sessions, or in a second one.

What a copy has in front of its archive tells of it without reading it: see `backup.lua`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct
from typing import NamedTuple

from service.codec import pack_number, unpack_number
from service.errors import Unavailable
from service.holds import Hold
from service.model import ETag, SessionRef
from service.store.keys import backup_key, session_keys
from service.store.link import Link
from service.store.scripts import script

LIFE_MS = 30 * 24 * 3_600_000
TOMBSTONE_MS = 60_000
"""How long a deletion keeps out the copies that other processes have read before it."""

_HEAD = Struct(">6s6sII8s")
_NO_GEN = bytes(8)


class Backup(NamedTuple):
    """What a copy tells of itself: as of when, its size as it is stored, how many keys it has."""

    at_ms: int
    size_bytes: int
    keys: int


class Mark(NamedTuple):
    """Which state of a session a copy has: that of a revision, read at a time of Redis."""

    etag: ETag
    at_ms: int
    keys: int


class BackupStore:
    """Backups of all namespaces. Every method may raise Unavailable, those that write StoreFull."""

    def __init__(self, link: Link, *, is_elsewhere: bool) -> None:
        """Keep copies where `link` leads; `is_elsewhere`: that is not where the sessions are."""
        self._link = link
        self.is_elsewhere = is_elsewhere

    @property
    def is_answering(self) -> bool:
        """Whether the last call was answered."""
        return self._link.is_answering

    async def look(self) -> None:
        """Ask for nothing: whether there is an answer."""
        with self._telling():
            await self._link.command("PING")

    async def find(self, ref: SessionRef) -> Backup | None:
        """Return what a copy tells of itself; None if there is none."""
        key = backup_key(ref)
        with self._telling():
            head = await self._link.command("GETRANGE", key, 0, _HEAD.size - 1, aim=key)
        if not isinstance(head, bytes) or len(head) < _HEAD.size:
            return None
        at, _, keys, size, _ = _HEAD.unpack(head)
        if size <= _HEAD.size:
            return None
        return Backup(at_ms=unpack_number(at), size_bytes=size, keys=keys)

    async def fetch(self, ref: SessionRef, hold: Hold) -> bytes | None:
        """Return the archive of a copy, None if there is none; `hold` is asked for its memory."""
        found = await self.find(ref)
        if found is None:
            return None
        hold.grow(found.size_bytes)
        key = backup_key(ref)
        with self._telling():
            copy = await self._link.command("GET", key, aim=key, is_large=True)
        return copy[_HEAD.size :] if isinstance(copy, bytes) else None

    async def keep(
        self, ref: SessionRef, mark: Mark, archive: bytes, *, replaces_earlier: bool
    ) -> bool:
        """Keep a copy; False if the session is gone, or there is a newer copy.

        One of an earlier session of the same id stays too, unless the copy `replaces_earlier`.
        Without an archive there is no copy from then on.
        """
        gen, rev = mark.etag.gen.encode(), pack_number(mark.etag.rev)
        size = _HEAD.size + len(archive)
        head = _HEAD.pack(pack_number(mark.at_ms), rev, mark.keys, size, gen)
        return await self._run(ref, head + archive, replaces_earlier=replaces_earlier)

    async def delete(self, ref: SessionRef, at_ms: int) -> None:
        """Delete the copy of a session that was deleted at a time of Redis, wherever it is.

        In the Redis of the sessions the deletion itself has done it.
        """
        if self.is_elsewhere:
            head = _HEAD.pack(pack_number(at_ms), pack_number(0), 0, _HEAD.size, _NO_GEN)
            await self._run(ref, head, replaces_earlier=True)

    async def aclose(self) -> None:
        """Close the connections to a second Redis."""
        if self.is_elsewhere:
            await self._link.aclose()

    async def _run(self, ref: SessionRef, copy: bytes, *, replaces_earlier: bool) -> bool:
        keys = [backup_key(ref)]
        if not self.is_elsewhere:
            keys.append(session_keys(ref).log)
        life_ms = LIFE_MS if len(copy) > _HEAD.size else TOMBSTONE_MS
        with self._telling():
            reply = await self._link.run(
                script("backup"), keys, [copy, life_ms, int(replaces_earlier)]
            )
        return bool(reply[0] == b"ok")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell which server it is that is away."""
        try:
            yield
        except Unavailable as error:
            if not self.is_elsewhere:
                raise
            words = "The server of the backups does not answer: check BACKUP_REDIS_URL."
            raise Unavailable(words, outcome=error.outcome) from None
