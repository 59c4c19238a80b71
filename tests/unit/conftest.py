"""The use cases over a real Redis, a server to take away, and a heap that stands still."""

import gc
from collections.abc import AsyncIterator, Iterator

import pytest

from service.memory.libc import libc
from tests.servers import Server, start_server
from tests.use_cases import Parts, build


@pytest.fixture
async def parts(server: Server) -> AsyncIterator[Parts]:
    """Give the use cases and what they are made of."""
    parts, link = build(server.url)
    yield parts
    await link.aclose()


@pytest.fixture
async def own_server() -> AsyncIterator[Server]:
    """Give a server to take away."""
    with start_server("valkey") as server:
        yield server


@pytest.fixture
def still_heap() -> Iterator[None]:
    """Let no garbage of other tests be collected while a test weighs what it takes itself."""
    gc.collect()
    gc.disable()
    trim = getattr(libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)  # what is taken now must come from the system, not from what others left
    yield
    gc.enable()
