"""Names that SCAN finds, and what their sessions tell of themselves, many in a call."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from service.codec import Header, unpack_header
from service.errors import Unavailable
from service.model import SessionRef
from service.store.cluster import ANYWHERE, Shard
from service.store.keys import session_keys
from service.store.link import Link
from service.store.scripts import script

_SCAN_PARTS = 2  # its end, and the names


class Described(NamedTuple):
    """A session as its header tells of it, and how many state keys it has."""

    ref: SessionRef
    header: Header
    state_keys: int


async def scan(
    link: Link, shard: Shard, pattern: bytes, start: int, count: int
) -> tuple[list[bytes], int]:
    """Return the names of one stretch, and its end; 0 is the end of all that is there."""
    reply = await link.command(
        "SCAN", start, "MATCH", pattern, "COUNT", count, aim=shard.address or ANYWHERE
    )
    if not (isinstance(reply, list) and len(reply) == _SCAN_PARTS):
        raise Unavailable("What answers is no Redis.")
    return reply[1], int(reply[0])


async def describe(link: Link, refs: Sequence[SessionRef], most: int) -> list[Described]:
    """Return those that are still there; one script tells of `most`."""
    # In a cluster no script may touch two slots: each session has its own call.
    size = 1 if link.is_cluster else most
    groups = [refs[first : first + size] for first in range(0, len(refs), size)]
    described = await asyncio.gather(*(_describe_together(link, group) for group in groups))
    return [each for group in described for each in group]


async def _describe_together(link: Link, refs: Sequence[SessionRef]) -> list[Described]:
    keys = [key for ref in refs for key in session_keys(ref)]
    told = await link.run(script("describe"), keys, [len(keys) // len(refs)])
    return [
        Described(ref, unpack_header(facts[0]), facts[1])
        for ref, facts in zip(refs, told, strict=True)
        if facts is not None
    ]
