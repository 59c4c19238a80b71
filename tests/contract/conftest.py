"""A session of the store under test, and a plain client to look behind it."""

from collections.abc import Iterator

import pytest
from redis import Redis

from service.store import RedisStore
from tests.clusters import Clustered, start_cluster
from tests.conftest import FLAVOURS
from tests.servers import Server
from tests.store_calls import Chat


@pytest.fixture
def redis(server: Server) -> Iterator[Redis]:
    """Give a plain client of the server under test."""
    with Redis.from_url(server.url) as client:
        yield client


@pytest.fixture(scope="session", params=FLAVOURS)
def shared_cluster(request: pytest.FixtureRequest) -> Iterator[Clustered]:
    """Run a cluster of either flavour."""
    with start_cluster(request.param) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Clustered) -> Clustered:
    """Give that cluster empty; whoever stops a node starts a cluster of their own."""
    shared_cluster.empty()
    return shared_cluster


@pytest.fixture
def chat(store: RedisStore) -> Chat:
    """Give a session that does not exist yet."""
    return Chat(store)
