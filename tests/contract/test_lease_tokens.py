"""A mutation with the token of a lease passes only while that lease is held."""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from redis import Redis

from service.errors import Locked
from service.model import Conditions
from service.store import LeaseStore, Link, RedisTarget
from service.store.keys import lease_key
from service.writes import SettingsChange
from tests.servers import Server
from tests.store_calls import CHAT, Chat, holding, ref_of, writing

Mutation = Callable[[Chat, Conditions], Coroutine[Any, Any, object]]

MUTATIONS: dict[str, Mutation] = {
    "put": lambda chat, guard: chat.put(SettingsChange(ttl_ms=60_000), guard),
    "touch": lambda chat, guard: chat.change(conditions=guard),
    "append": lambda chat, guard: chat.say("x", conditions=guard),
    "replace": lambda chat, guard: chat.replace("x", conditions=guard),
    "clear": lambda chat, guard: chat.clear(guard),
    "delete one": lambda chat, guard: chat.delete_one(2, guard),
    "trim": lambda chat, guard: chat.trim(2, guard),
    "pop": lambda chat, guard: chat.pop(1, conditions=guard),
    "set": lambda chat, guard: chat.write({"a": b"2"}, conditions=guard),
    "delete of a value": lambda chat, guard: chat.write(deletes=["a"], conditions=guard),
    "get alone": lambda chat, guard: chat.write(gets=["a"], conditions=guard),
    "delete by prefix": lambda chat, guard: chat.delete_state("a", guard),
    "delete": lambda chat, guard: chat.delete(guard),
}


@pytest.fixture(params=MUTATIONS)
def mutation(request: pytest.FixtureRequest) -> Mutation:
    return MUTATIONS[request.param]


@pytest.fixture
async def leases(server: Server) -> AsyncIterator[LeaseStore]:
    link = Link(RedisTarget(url=server.url))
    yield LeaseStore(link)
    await link.aclose()


async def fill(chat: Chat) -> None:
    await chat.say("1", "2", "3")
    await chat.write({"a": b"1"})


def everything(redis: Redis) -> dict[object, object]:
    return {name: redis.dump(name) for name in redis.scan_iter()}


async def test_the_token_of_the_lease_passes(
    chat: Chat, leases: LeaseStore, redis: Redis, mutation: Mutation
) -> None:
    await fill(chat)
    await leases.acquire(CHAT, "token", 60_000)
    await mutation(chat, holding("token"))

    assert redis.get(lease_key(CHAT)) == b"token"
    assert redis.pttl(lease_key(CHAT)) > 59_000


async def test_another_token_is_refused_and_changes_nothing(
    chat: Chat, leases: LeaseStore, redis: Redis, mutation: Mutation
) -> None:
    await fill(chat)
    await leases.acquire(CHAT, "token", 60_000)
    before = everything(redis)
    for token in ("other", "token ", "TOKEN", "*"):
        with pytest.raises(Locked) as failure:
            await mutation(chat, holding(token))
        assert failure.value.code == "wrong_lease"

    assert everything(redis) == before


async def test_a_token_is_refused_where_nobody_holds_the_lease(
    chat: Chat, leases: LeaseStore, redis: Redis, mutation: Mutation
) -> None:
    await fill(chat)
    await leases.acquire(CHAT, "token", 60_000)
    await leases.release(CHAT, "token")
    await leases.acquire(ref_of("other"), "token", 60_000)
    before = everything(redis)
    with pytest.raises(Locked):
        await mutation(chat, holding("token"))

    assert everything(redis) == before


async def test_a_call_without_a_token_is_not_asked_for_one(
    chat: Chat, leases: LeaseStore, mutation: Mutation
) -> None:
    await fill(chat)
    await leases.acquire(CHAT, "token", 60_000)

    await mutation(chat, Conditions())


async def test_a_wrong_token_is_told_before_a_wrong_condition(chat: Chat) -> None:
    guard = Conditions(if_match=("none-1",), lease_token="other")  # made up
    with pytest.raises(Locked):
        await chat.say("x", conditions=guard)
    assert await chat.is_absent()


async def test_a_wrong_token_is_refused_where_no_session_is(chat: Chat, redis: Redis) -> None:
    for call in (
        chat.put(conditions=holding("other")),
        chat.say("x", conditions=holding("other")),
        chat.tier.write_state(CHAT, writing(deletes=["a"]), holding("other")),
        chat.tier.delete_state(CHAT, "", holding("other")),
        chat.delete(holding("other")),
    ):
        with pytest.raises(Locked):
            await call
    assert redis.dbsize() == 0
