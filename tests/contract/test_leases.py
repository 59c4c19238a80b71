"""Leases in Redis: one key an id, one script a call, Redis's clock."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from redis import Redis

from service.errors import Conflict, StoreFull
from service.model import Lease, Reading
from service.store import Held, LeaseStore, Link, RedisStore, RedisTarget
from service.store.keys import lease_key, session_keys
from service.store.scripts import script
from tests.contract.test_commands import IDS, calls_seen
from tests.polling import eventually
from tests.servers import Server, start_server
from tests.store_calls import CHAT, Chat, ref_of

KEY = lease_key(CHAT)
CALLS: dict[str, Callable[[LeaseStore], Coroutine[Any, Any, object]]] = {
    "acquire": lambda leases: leases.acquire(CHAT, "a", 60_000),
    "acquire what is held": lambda leases: leases.acquire(CHAT, "b", 60_000),
    "extend": lambda leases: leases.extend(CHAT, "a", 60_000),
    "release": lambda leases: leases.release(CHAT, "a"),
}


@pytest.fixture
async def leases(server: Server) -> AsyncIterator[LeaseStore]:
    link = Link(RedisTarget(url=server.url))
    yield LeaseStore(link)
    await link.aclose()


def now_ms(redis: Redis) -> int:
    seconds, micros = redis.time()
    return seconds * 1000 + micros // 1000


async def test_a_free_lease_is_taken_until_it_expires(leases: LeaseStore, redis: Redis) -> None:
    before = now_ms(redis)
    lease = await leases.acquire(CHAT, "a", 60_000)

    assert isinstance(lease, Lease)
    assert lease.token == "a"
    assert before <= lease.expires_at_ms - 60_000 <= now_ms(redis)
    assert redis.get(KEY) == b"a"
    assert 59_000 < redis.pttl(KEY) <= 60_000
    assert "'a'" not in repr(lease)


async def test_it_is_held_against_another_for_what_remains(leases: LeaseStore) -> None:
    await leases.acquire(CHAT, "a", 60_000)
    held = await leases.acquire(CHAT, "b", 1_000)

    assert isinstance(held, Held)
    assert 59_000 < held.remaining_ms <= 60_000
    assert await leases.check(CHAT, "a")
    assert not await leases.check(CHAT, "b")


async def test_an_expired_lease_is_free_and_nobodys(leases: LeaseStore) -> None:
    await leases.acquire(CHAT, "a", 100)

    async def acquire() -> Lease | Held:
        return await leases.acquire(CHAT, "b", 60_000)

    await eventually(acquire, lambda answer: isinstance(answer, Lease))
    for call in (leases.extend(CHAT, "a", 1_000), leases.release(CHAT, "a")):
        with pytest.raises(Conflict) as caught:
            await call
        assert caught.value.code == "not_lease_owner"
    assert await leases.check(CHAT, "b")


async def test_to_acquire_again_extends(leases: LeaseStore, redis: Redis) -> None:
    first = await leases.acquire(CHAT, "a", 1_000)
    again = await leases.acquire(CHAT, "a", 60_000)

    assert isinstance(first, Lease)
    assert isinstance(again, Lease)
    assert again.expires_at_ms - first.expires_at_ms >= 59_000
    assert redis.pttl(KEY) > 59_000


async def test_extending_counts_from_now_and_may_shorten(leases: LeaseStore, redis: Redis) -> None:
    await leases.acquire(CHAT, "a", 1_000)
    longer = await leases.extend(CHAT, "a", 60_000)
    assert redis.pttl(KEY) > 59_000
    shorter = await leases.extend(CHAT, "a", 1_000)

    assert longer.expires_at_ms - shorter.expires_at_ms > 58_000
    assert redis.pttl(KEY) <= 1_000


async def test_a_released_lease_is_free_and_cannot_be_released_twice(leases: LeaseStore) -> None:
    await leases.acquire(CHAT, "a", 60_000)
    await leases.release(CHAT, "a")

    assert not await leases.check(CHAT, "a")
    with pytest.raises(Conflict):
        await leases.release(CHAT, "a")
    assert isinstance(await leases.acquire(CHAT, "b", 60_000), Lease)


@pytest.mark.parametrize("token", ["", "b", "A", "a ", "aa", "\x00", "*", "\u00e9" * 5_000])
async def test_another_token_owns_nothing(leases: LeaseStore, redis: Redis, token: str) -> None:
    await leases.acquire(CHAT, "a", 60_000)

    for call in (leases.extend(CHAT, token, 1_000), leases.release(CHAT, token)):
        with pytest.raises(Conflict):
            await call
    assert not await leases.check(CHAT, token)
    assert redis.get(KEY) == b"a"
    assert redis.pttl(KEY) > 59_000


@pytest.mark.parametrize("name", IDS)
async def test_an_id_is_literal(leases: LeaseStore, redis: Redis, name: str) -> None:
    ref, other = ref_of(name), ref_of(name, "other")
    await leases.acquire(ref, "a", 60_000)
    await leases.acquire(other, "b", 60_000)

    assert set(redis.keys()) == {lease_key(ref), lease_key(other)}
    await leases.release(other, "b")
    assert await leases.check(ref, "a")


async def test_a_session_and_its_lease_do_not_know_each_other(
    store: RedisStore, leases: LeaseStore, redis: Redis
) -> None:
    chat = Chat(store)
    await leases.acquire(CHAT, "a", 60_000)
    assert await store.read(CHAT, Reading()) is None
    await chat.say("{}")
    await chat.delete()

    assert redis.keys() == [KEY]
    assert await leases.check(CHAT, "a")


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_is_one_script(leases: LeaseStore, redis: Redis, name: str) -> None:
    await leases.acquire(CHAT, "a", 60_000)
    assert await calls_seen(redis, CALLS[name](leases)) == ["EVALSHA"]


async def test_a_check_is_one_command(leases: LeaseStore, redis: Redis) -> None:
    assert not await leases.check(CHAT, "a")
    assert await calls_seen(redis, leases.check(CHAT, "a")) == ["GET"]


def test_a_lost_reply_is_never_told_as_not_applied() -> None:
    assert script("lease").writes


@pytest.fixture(scope="module")
def full_server(shared_server: Server) -> Iterator[Server]:
    with start_server(shared_server.flavour, "--maxmemory-policy", "noeviction") as server:
        yield server


async def test_in_a_full_redis_leases_are_kept_and_given_back(full_server: Server) -> None:
    link = Link(RedisTarget(url=full_server.url))
    leases, other = LeaseStore(link), ref_of("other")
    with Redis.from_url(full_server.url) as redis:
        await leases.acquire(CHAT, "a", 1_000)
        redis.config_set("maxmemory", 1)
        with pytest.raises(StoreFull):
            await leases.acquire(other, "b", 60_000)
        assert redis.keys() == [KEY]
        assert isinstance(await leases.acquire(CHAT, "b", 60_000), Held)

        await leases.extend(CHAT, "a", 60_000)
        assert redis.pttl(KEY) > 59_000
        assert isinstance(await leases.acquire(CHAT, "a", 60_000), Lease)
        await leases.release(CHAT, "a")
        assert redis.dbsize() == 0

        redis.config_set("maxmemory", 0)
        assert isinstance(await leases.acquire(other, "b", 60_000), Lease)
    await link.aclose()


def test_the_lease_has_a_key_of_its_own_beside_the_session() -> None:
    assert KEY == b"b:{default:chat}l"
    assert KEY not in session_keys(CHAT)
