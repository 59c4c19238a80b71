"""Read-your-writes: who asks for a session has what waits of it in the journal written first."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from service.journal import SETTLE_SECONDS, Journal
from service.model import Listing, Namespace, SessionRef
from service.store import Directory

P = ParamSpec("P")
R = TypeVar("R")


class Journaled(Protocol):
    """Whose writes may wait."""

    journal: Journal


J = TypeVar("J", bound=Journaled)
Method = Callable[Concatenate[J, SessionRef, P], Coroutine[Any, Any, R]]


def settled(method: Method[J, P, R]) -> Method[J, P, R]:
    """Have a method find its session as all that was acknowledged has left it.

    It raises Unavailable or StoreFull, too, if Redis does not take what waits.
    """

    @wraps(method)
    def begin(
        self: J, ref: SessionRef, /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]:
        if ref not in self.journal:
            return method(self, ref, *args, **kwargs)
        return after(self, ref, *args, **kwargs)

    async def after(self: J, ref: SessionRef, /, *args: P.args, **kwargs: P.kwargs) -> R:
        await self.journal.settle(ref)
        return await method(self, ref, *args, **kwargs)

    return begin


class Listings:
    """The sessions of a namespace, those included that only the journal has yet."""

    def __init__(self, directory: Directory, journal: Journal) -> None:
        """List what `directory` finds."""
        self._directory = directory
        self._journal = journal

    async def page(
        self, namespace: Namespace, prefix: str, limit: int, cursor: str | None
    ) -> Listing:
        """Return at most `limit` sessions, maybe none. Raises BadInput for the cursor.

        What Redis does not take now is left out: it would keep all others from being listed.
        """
        if self._journal.has_any(namespace, prefix):
            await self._journal.flush(SETTLE_SECONDS)
        return await self._directory.page(namespace, prefix, limit, cursor)
