"""One at a time and in order, per key: what waits for itself alone needs no lock of the others."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.errors import OVERLOADED, Unavailable


@dataclass(slots=True, eq=False)
class _Line:
    """Those who wait for one key, or have their turn."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0
    failure: Unavailable | None = None

    def check(self) -> None:
        if self.failure is not None:
            raise Unavailable(self.failure.detail, code=self.failure.code)


class Turns:
    """A queue for each key, as long as anybody stands in it."""

    def __init__(self) -> None:
        """Begin with no queue."""
        self._lines: dict[Hashable, _Line] = {}

    @asynccontextmanager
    async def of(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for the turn of a key, first come first served, and keep it for the block.

        Raises Unavailable if the turn of one in front has ended with it.
        """
        line = self._lines.setdefault(key, _Line())
        line.length += 1
        try:
            async with line.lock:
                line.check()
                yield
        except Unavailable as failure:
            # Those behind would find the same, one after the other, each at the end of its call.
            if failure.code != OVERLOADED:
                line.failure = Unavailable(failure.detail, code=failure.code)
            raise
        finally:
            line.length -= 1
            # A line that has failed is left, and those who come now begin another.
            if self._lines.get(key) is line and (line.length == 0 or line.failure):
                del self._lines[key]
