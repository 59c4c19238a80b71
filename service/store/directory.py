"""Which sessions a namespace has, page by page, by SCAN; nothing is kept between two pages.

A cursor of SCAN is a place in the order of reversed hash bits, which is the same whatever the size
of the table. SCAN from `start` answers an `end` and, however the table grows or shrinks, at least
every key between the two. So a listing that goes on from each `end` misses nothing.

Such a stretch is taken whole, or asked for again with a smaller COUNT. Where even the smallest, one
bucket, holds more than the page, its names are delivered in the order of their bytes, and the token
tells the last one; the next page asks for the stretch again. If it ends where it did, whatever
sorts no later was delivered: with the page before, or ahead of `start` (of which a table that
shrank answers a part again). If it ends elsewhere that cannot be said of what lies behind the
former end, and all of it is delivered again, on another page than before.

COUNT counts keys, so with a large one the end moves whenever some keys come or go, and a listing
with small pages would begin its stretch anew for ever. With 1 it moves only when a bucket becomes
empty, an empty one is filled, or the table changes its size.

In a cluster the primaries follow each other by their lowest slots. A cursor is one node's own: if
that node is no primary any more, the listing goes on at the beginning of the next, which is whoever
took its slots.
"""

import base64
from collections.abc import Sequence
from typing import Annotated

import msgspec

from service.codec import session_of
from service.errors import BadInput, Fault
from service.model import Listing, Namespace, Session, SessionId, SessionRef
from service.store.cluster import Shard
from service.store.keys import id_of_log, log_pattern
from service.store.link import Link
from service.store.scan import describe, scan

MOST_SCANS = 10
"""For one page: as many halvings lead from 1,000 to 1, so each page comes further; and up to 10,000
keys of others, some ms of Redis, are enough for one request."""

MOST_KEYS = 1_000
"""Looked at by one SCAN: well below a millisecond of Redis."""

MOST_DESCRIBED = 500
"""Sessions, by one script: 8 ms of Redis with the longest ids; no script may take 20."""

_Cursor = Annotated[int, msgspec.Meta(ge=0)]


class _Place(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Where a page begins: a cursor of SCAN; and how far the stretch that ends at `end` came.

    `node` is the primary that it is in, `slot` the lowest that this had.
    """

    start: _Cursor
    end: _Cursor = 0
    last: str = ""
    node: str = ""
    slot: _Cursor = 0

    def undelivered(self, ids: set[SessionId], end: int) -> set[SessionId]:
        return {sid for sid in ids if sid > self.last} if end == self.end else ids

    def at(self, start: int, end: int = 0, last: str = "") -> "_Place":
        return _Place(start, end, last, self.node, self.slot)

    def among(self, shards: Sequence[Shard]) -> "tuple[Sequence[Shard], _Place | None]":
        """Return the primaries that are not read to their end, and the place in the first."""
        here = [shard for shard in shards if shard.id == self.node]
        slot = here[0].slot if here else self.slot
        rest = [shard for shard in shards if shard.slot >= slot]
        return rest, self if here else _beginning(rest)


class Directory:
    """The sessions of all namespaces. May raise Unavailable."""

    def __init__(self, link: Link) -> None:
        """Use `link` for every call."""
        self._link = link

    async def page(
        self, namespace: Namespace, prefix: str, limit: int, cursor: str | None
    ) -> Listing:
        """Return at most `limit` sessions whose ids begin with `prefix`, maybe none.

        Raises BadInput for a cursor that no page can have given.
        """
        place = _Place(0) if cursor is None else _parse(cursor)
        found, after = await self._find(namespace, prefix, limit, place)
        refs = [SessionRef(namespace=namespace, id=sid) for sid in found]
        sessions = tuple(await self._describe(refs))
        return Listing(sessions=sessions, next=None if after is None else _token(after))

    async def _find(
        self, namespace: Namespace, prefix: str, limit: int, place: _Place
    ) -> tuple[set[SessionId], _Place | None]:
        """Return ids, and where the next page begins, None at the end."""
        found: set[SessionId] = set()
        pattern, count = log_pattern(namespace, prefix), 1 if place.last else limit
        shards, here = place.among(await self._link.shards())
        for _ in range(MOST_SCANS):
            if here is None:
                break
            names, end = await scan(self._link, shards[0], pattern, here.start, count)
            ids = here.undelivered({id_of_log(namespace, name) for name in names}, end) - found
            room = limit - len(found)
            if len(ids) > room and count == 1:
                part = sorted(ids)[:room]  # code points sort as their UTF-8 does
                return found.union(part), here.at(here.start, end, part[-1])
            if len(ids) > room:
                count //= 2
                continue
            found |= ids
            shards = shards if end else shards[1:]
            here = here.at(end) if end else _beginning(shards)
            if 2 * len(found) >= limit:
                break
            count = min(2 * count, MOST_KEYS)  # less than half was found: twice as many may fit
        return found, here

    async def _describe(self, refs: Sequence[SessionRef]) -> list[Session]:
        """Return those that are still there."""
        told = await describe(self._link, refs, MOST_DESCRIBED)
        return [session_of(header, ref.id, state_keys) for ref, header, state_keys in told]


def _beginning(shards: Sequence[Shard]) -> _Place | None:
    """Return where the first of some primaries begins, None if there is none."""
    return _Place(0, node=shards[0].id, slot=shards[0].slot) if shards else None


def _token(place: _Place) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode().rstrip("=")


def _parse(token: str) -> _Place:
    padding = "=" * (-len(token) % 4)
    try:
        data = base64.b64decode(token + padding, b"-_", validate=True)
        return msgspec.msgpack.decode(data, type=_Place)
    except (ValueError, msgspec.MsgspecError):
        fault = Fault("/query/cursor", "must be the next of an earlier page")
        raise BadInput("The cursor is none that was given.", fault) from None
