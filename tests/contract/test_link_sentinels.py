"""The primary is wherever the sentinels say: also when one is silent, and when it moves."""

import signal
from collections.abc import AsyncIterator

import pytest
from redis import Redis

from service.errors import Outcome, Unavailable
from service.model import TlsVerify
from service.store import Link, RedisTarget
from service.store.topology import SENTINEL_PORT, Sentinels, topology_of
from tests.polling import eventually
from tests.scripts_of_tests import COUNT
from tests.sentinels import NAME, Guarded, start_guarded, until_all_know_all
from tests.servers import HOST, Server, free_port


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    """Give servers of the test's own, when the sentinels know all of them and each other."""
    with start_guarded() as guarded:
        await until_all_know_all(guarded)
        yield guarded


async def count(link: Link) -> int | None:
    """Return the next number, None if Redis was not available."""
    try:
        return int((await link.run(COUNT, [b"n"], []))[0])
    except Unavailable:
        return None


async def test_the_link_follows_the_primary(guarded: Guarded) -> None:
    link = Link(RedisTarget(url=guarded.url), on_invalidated=lambda _: None)
    assert await count(link) == 1
    with Redis.from_url(guarded.replica.url) as redis:

        async def copied() -> object:
            return redis.get("n")

        await eventually(copied, lambda value: value == b"1")
        guarded.primary.kill()
        assert await eventually(lambda: count(link), bool, within_seconds=20) == 2
        assert redis.get("n") == b"2"
    assert link.is_tracking
    await link.aclose()


async def test_a_silent_sentinel_is_passed_over(guarded: Guarded) -> None:
    guarded.sentinels[0].send_signal(signal.SIGSTOP)
    guarded.sentinels[1].kill()
    guarded.sentinels[1].wait()
    link = Link(RedisTarget(url=guarded.url))
    assert await count(link) == 1
    await link.aclose()


async def test_a_primary_that_was_made_a_replica_is_left(guarded: Guarded) -> None:
    link = Link(RedisTarget(url=guarded.url))
    assert await count(link) == 1
    for sentinel in guarded.sentinels:  # nobody sets it right but the link
        sentinel.send_signal(signal.SIGSTOP)
    with Redis.from_url(guarded.primary.url) as redis:
        redis.replicaof(HOST, guarded.replica.port)
        with pytest.raises(Unavailable, match="read-only") as caught:
            await link.run(COUNT, [b"n"], [])
        assert caught.value.outcome is Outcome.NOT_APPLIED
        for sentinel in guarded.sentinels:
            sentinel.send_signal(signal.SIGCONT)
        with pytest.raises(Unavailable, match="sentinels know of no primary") as caught:
            await link.run(COUNT, [b"n"], [])
        assert caught.value.outcome is Outcome.NOT_APPLIED
        redis.replicaof("NO", "ONE")
    assert await eventually(lambda: count(link), bool, within_seconds=10) == 2
    await link.aclose()


@pytest.mark.parametrize("name", ["unknown", NAME])
async def test_without_a_sentinel_that_knows_nothing_is_sent(guarded: Guarded, name: str) -> None:
    ports = guarded.ports if name == "unknown" else [free_port()]
    hosts = ",".join(f"{HOST}:{port}" for port in ports)
    link = Link(RedisTarget(url=f"redis+sentinel://{hosts}/{name}"))
    with pytest.raises(Unavailable, match="sentinels know of no primary") as caught:
        await link.run(COUNT, [b"n"], [])
    assert caught.value.outcome is Outcome.NOT_APPLIED
    await link.aclose()


async def test_who_is_asked_may_be_no_sentinel(server: Server) -> None:
    link = Link(RedisTarget(url=f"redis+sentinel://{HOST}:{server.port}/{NAME}"))
    with pytest.raises(Unavailable, match="sentinels know of no primary"):
        await link.command("PING")
    await link.aclose()


def test_what_a_url_says() -> None:
    topology = topology_of(RedisTarget(url="redis+sentinel://u:p%40@one:1,two,[::1]:3/my%20name/5"))
    assert isinstance(topology, Sentinels)
    makes = [made.make() for made in (*topology._sentinels, topology._primary)]
    assert [vars(each)["host"] for each in makes[:3]] == ["one", "two", "::1"]
    assert [vars(each)["port"] for each in makes[:3]] == [1, SENTINEL_PORT, 3]
    assert (makes[3].username, makes[3].password, makes[3].db) == ("u", "p@", 5)
    assert makes[0].password is None
    assert topology._name == "my name"


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://",
        "redis+sentinel:///name",
        "redis+sentinel://host",
        "redis+sentinel://host/",
        "redis+sentinel://host:port/name",
        "redis+sentinel://host/name?nonsense=1",
        "other+sentinel://host/name",
    ],
)
def test_what_says_nowhere(url: str) -> None:
    assert topology_of(RedisTarget(url=url)) is None


def test_tls_is_to_the_primary() -> None:
    target = RedisTarget(url="rediss+sentinel://host/name", tls_verify=TlsVerify.OFF)
    assert Link(target).is_tls_verified is False
