"""Waiting without sleeping longer than needed."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

POLL_SECONDS = 0.02

T = TypeVar("T")


async def eventually(
    call: Callable[[], Awaitable[T]], is_wanted: Callable[[T], bool], *, within_seconds: float = 5
) -> T:
    """Call again until what comes back is wanted, and return it; fail after some seconds."""
    deadline = monotonic() + within_seconds
    while not is_wanted(result := await call()):
        assert monotonic() < deadline, result
        await asyncio.sleep(POLL_SECONDS)
    return result
