"""A session of the store under test, and a plain client to look behind it."""

from collections.abc import Iterator

import pytest
from redis import Redis

from service.store import RedisStore
from tests.servers import Server
from tests.store_calls import Chat


@pytest.fixture
def redis(server: Server) -> Iterator[Redis]:
    """Give a plain client of the server under test."""
    with Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def chat(store: RedisStore) -> Chat:
    """Give a session that does not exist yet."""
    return Chat(store)
