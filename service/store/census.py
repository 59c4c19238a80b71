"""All sessions of all namespaces, by SCAN, for the governor: nothing is renewed by it."""

from collections.abc import AsyncGenerator, Sequence

from service.errors import ServiceError
from service.store.cluster import ANYWHERE, Shard
from service.store.keys import ANY_LOG, ref_of_key
from service.store.link import Link
from service.store.scan import Described, describe, scan
from service.store.watch import fraction_of

PAGE_KEYS = 100
"""Looked at by one SCAN, and their sessions told of by one script: well below a millisecond."""


class Census:
    """Goes through the sessions of each primary. May raise Unavailable."""

    def __init__(self, link: Link) -> None:
        """Use `link` for every call."""
        self._link = link

    async def primaries(self) -> Sequence[Shard]:
        """Return all primaries; without a cluster there is one."""
        return await self._link.shards()

    async def fraction(self, primary: Shard) -> float | None:
        """Return how full a primary is now; None if it has no limit, or hides it."""
        return fraction_of(await self._link.command("INFO", aim=primary.address or ANYWHERE))

    async def pages(self, primary: Shard) -> AsyncGenerator[Sequence[Described], None]:
        """Yield its sessions, none missed that exists throughout; some may come twice."""
        start, is_begun = 0, False
        while start or not is_begun:
            names, start = await scan(self._link, primary, ANY_LOG, start, PAGE_KEYS)
            is_begun = True
            yield await self._describe(names)

    async def _describe(self, names: Sequence[bytes]) -> Sequence[Described]:
        """Tell of those that are there, of none if one of them belongs to another release."""
        refs = [ref for ref in map(ref_of_key, names) if ref is not None]
        try:
            return await describe(self._link, refs, PAGE_KEYS) if refs else ()
        except ServiceError:
            if not self._link.is_answering:
                raise
            return ()
