"""The link to Redis: what it tells when it is not Redis that is in the way."""

from hashlib import sha1

import pytest
from redis import Redis

from service.errors import Outcome, Unavailable
from service.model import TlsVerify
from service.store import Link, RedisTarget
from service.store.scripts import Script
from tests.polling import eventually
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


async def test_a_connection_that_redis_has_closed_is_made_anew(server: Server) -> None:
    link = Link(RedisTarget(url=server.url, max_connections=1))
    await link.command("PING")
    with Redis.from_url(server.url) as redis:
        redis.client_kill_filter(_type="normal", skipme=True)

    async def has_heard() -> bool:
        return await link._idle[0].can_read()

    await eventually(has_heard, bool)
    assert await link.command("PING") == b"PONG"
    await link.aclose()


async def test_what_answers_otherwise_than_our_scripts_is_no_redis(server: Server) -> None:
    link = Link(RedisTarget(url=server.url))
    source = b"return 'hello'"
    sha = sha1(source, usedforsecurity=False).hexdigest().encode()
    with pytest.raises(Unavailable, match="no Redis") as caught:
        await link.run(Script(source, sha, writes=True), [], [])
    assert caught.value.outcome is Outcome.UNKNOWN
    await link.aclose()


@pytest.mark.parametrize(
    ("url", "verify", "is_verified"),
    [
        ("redis://host", TlsVerify.FULL, None),
        ("rediss://host", TlsVerify.FULL, True),
        ("rediss://host", TlsVerify.CA, True),
        ("rediss://host", TlsVerify.OFF, False),
        ("nonsense", TlsVerify.FULL, None),
    ],
)
def test_whether_the_server_is_who_it_says(
    *, url: str, verify: TlsVerify, is_verified: bool | None
) -> None:
    assert Link(RedisTarget(url=url, tls_verify=verify)).is_tls_verified is is_verified


async def test_a_redis_that_does_not_answer_in_time_is_told_of(server: Server) -> None:
    link = Link(RedisTarget(url=server.url))
    await link.command("PING")
    with Redis.from_url(server.url) as redis:
        redis.client_pause(1_600)
    with pytest.raises(Unavailable, match="timed out"):
        await link.command("PING")
    assert not link.is_answering
    await link.aclose()
