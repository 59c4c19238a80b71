"""The use cases over a real Redis, and a server to take away."""

from collections.abc import AsyncIterator

import pytest

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
