"""The link to Redis: what it tells when it is not Redis that is in the way."""

import pytest

from service.errors import Outcome, Unavailable
from service.store import Link, RedisTarget
from tests.servers import Server


async def test_waiting_for_our_own_connections_says_nothing_of_redis(server: Server) -> None:
    link = Link(RedisTarget(url=server.url, max_connections=1))
    await link.command("PING")
    async with link._places:
        with pytest.raises(Unavailable, match="busy") as caught:
            await link.command("PING")
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert link.is_answering
    await link.aclose()
