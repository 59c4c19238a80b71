"""What all processes know of a session, put together in Redis while they play it again.

Each stages packed blobs of its own, oldest first: they are merged by revision, a blob of each at a
time.
"""

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from msgspec.structs import replace

from service.model import SessionRef
from service.store.arguments import CALL_KEY
from service.store.keys import staged_key
from service.store.link import Link
from service.store.replay.log import RESOLVED, Entry, decompress, unpack_entries

_NO_KEYS: set[object] = {"", b""}


class OneStaged(NamedTuple):
    """An entry that all can see, and whether this process has staged it."""

    entry: Entry
    is_mine: bool


class Staged:
    """The writes of one session that somebody could not play alone."""

    def __init__(self, blobs: Mapping[bytes, Sequence[bytes]], process_id: bytes) -> None:
        """Hold what each process has staged."""
        self._blobs = blobs
        self._id = process_id
        self._resolved: Sequence[OneStaged] = ()

    @classmethod
    async def read(cls, link: Link, ref: SessionRef, process_id: bytes) -> "Staged":
        """Read all of it. Raises ServiceError."""
        key, size = staged_key(ref), len(process_id)
        reply = await link.command("LRANGE", key, 0, -1, aim=key, is_large=True)
        blobs: dict[bytes, list[bytes]] = defaultdict(list)
        for blob in reply if isinstance(reply, list) else []:
            blobs[blob[:size]].append(blob[size:])
        return cls(blobs, process_id)

    async def look(self) -> tuple[Sequence[str], list[Entry]]:
        """Return the gens, the oldest first, and the writes whose outcome nobody was told."""
        began: dict[str, int] = {}
        unsure: list[OneStaged] = []
        resolved: dict[object, Entry] = {}
        keys: set[object] = set()
        for name, blob in ((name, blob) for name, blobs in self._blobs.items() for blob in blobs):
            await asyncio.sleep(0)  # others have their turn, too
            for entry in unpack_entries(decompress(blob)):
                if entry.name == RESOLVED:
                    resolved[entry.args[0]] = entry
                elif not entry.rev:
                    unsure.append(OneStaged(entry, name == self._id))
                elif len(entry.args) > CALL_KEY:
                    keys.add(entry.args[CALL_KEY])
                if entry.rev:
                    began[entry.gen] = min(entry.at_ms, began.get(entry.gen, entry.at_ms))
        # What another process was told of is among the others.
        left = [each for each in unsure if each.entry.args[CALL_KEY] not in keys - _NO_KEYS]
        self._resolved = [_told(each, resolved) for each in left if _key(each) in resolved]
        left = [each for each in left if _key(each) not in resolved]
        entries = sorted((each.entry for each in left), key=lambda entry: entry.at_ms)
        return sorted(began, key=began.__getitem__), entries

    def portions(self, gen: str, most: int) -> Iterator[Sequence[OneStaged]]:
        """Yield the writes of a gen by their revisions."""
        runs = [self._run(name, gen) for name in self._blobs]
        resolved = sorted((it for it in self._resolved if it.entry.gen == gen), key=_place)
        merged = heapq.merge(*runs, resolved, key=_place)
        while part := list(islice(merged, most)):
            yield part

    def _run(self, name: bytes, gen: str) -> Iterator[OneStaged]:
        for blob in self._blobs[name]:
            for entry in unpack_entries(decompress(blob)):
                if entry.rev and entry.gen == gen and entry.name != RESOLVED:
                    yield OneStaged(entry, name == self._id)


def _key(staged: OneStaged) -> object:
    return staged.entry.args[CALL_KEY]


def _told(staged: OneStaged, resolved: Mapping[object, Entry]) -> OneStaged:
    """Return a call of unknown outcome with what became known of it later."""
    end = resolved[_key(staged)]
    at_ms = end.at_ms or staged.entry.at_ms
    args = (end.gen, *staged.entry.args[1:])
    entry = replace(staged.entry, gen=end.gen, rev=end.rev, at_ms=at_ms, args=args)
    return OneStaged(entry, staged.is_mine)


def _place(staged: OneStaged) -> tuple[int, int]:
    """Where an entry stands in its life: what changed nothing comes behind."""
    return staged.entry.rev, staged.entry.follows
