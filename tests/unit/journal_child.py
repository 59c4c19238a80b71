"""Fills a journal with writes of one shape; prints the bytes of RSS, and those that it counts.

python journal_child.py SHAPE
"""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress

from service.batching import Write
from service.clock import SystemClock
from service.errors import Unavailable
from service.holds import Uncounted
from service.journal import Journal
from service.memory.machine import own_rss_bytes
from service.model import Namespace, SessionId, SessionRef, StateKey, Value
from service.writes import Append, Idempotency, StateWrite

MOST_BYTES = 32 * 1_048_576


def append(number: int, *, size: int, key: bytes = b"") -> Append:
    text = b'{"n":"%0*d"}' % (size, number)
    idempotency = Idempotency(key, b"%d" % number) if key else None
    return Append(messages=(text,), digests=(b"",), idempotency=idempotency)


def state(number: int) -> StateWrite:
    return StateWrite(sets={StateKey(f"key-{number}"): Value(b'"%05000d"' % number)})


SHAPES: dict[str, tuple[int, Callable[[int], Write]]] = {
    # How many writes go to the same session, and what they are.
    "one each": (1, lambda number: append(number, size=150)),
    "many each": (1_000, lambda number: append(number, size=150)),
    "keyed": (50, lambda number: append(number, size=50, key=b"%08d" % number)),
    "state": (10, state),
    "large": (10, lambda number: append(number, size=300_000)),
}


async def nowhere(_: SessionRef, __: Write) -> None:
    """Write nothing: it only waits."""


async def main(shape: str) -> None:
    """Fill and measure."""
    each, make = SHAPES[shape]
    journal = Journal(nowhere, Uncounted, SystemClock(), most_bytes=MOST_BYTES, most_messages=500)
    before, number = own_rss_bytes(), 0
    with suppress(Unavailable):
        while True:
            sid = SessionId(f"chat-{number // each:08d}")
            journal.add(SessionRef(namespace=Namespace("default"), id=sid), make(number))
            number += 1
    sys.stdout.write(f"{own_rss_bytes() - before} {journal.held_bytes}\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
