"""A full Redis: what would grow is refused and changes nothing, everything else goes on."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from redis import Redis

from service.errors import PreconditionFailed, StoreFull
from service.model import Reading, StateKey, StoredValue, Touch, Value
from service.store import RedisStore
from service.store.keys import session_keys
from service.writes import Cut, Removal, SettingsChange
from tests.conftest import FLAVOURS
from tests.servers import Server, start_server
from tests.store_calls import UNCONDITIONAL, Chat, keyed, matching, open_store, ref_of, writing

Calls = dict[str, Callable[[Chat], Coroutine[Any, Any, object]]]


async def merge(chat: Chat, key: str) -> object:
    """Merge into a value as the use cases do: with the tag that it has."""
    assert isinstance(chat.tier, RedisStore)
    base = (await chat.view()).values.get(StateKey(key))
    merged = {StateKey(key): StoredValue(Value(b"{}"), base.tag if base else 0)}
    return await chat.tier.write_state(chat.ref, writing(), UNCONDITIONAL, merged)


async def copy(chat: Chat) -> object:
    assert isinstance(chat.tier, RedisStore)
    return await chat.tier.create(ref_of("new"), await chat.snapshot())


async def drop(chat: Chat, keep: int) -> object:
    removal = Removal(cut=Cut.EXCESS, number=keep)
    return await chat.tier.remove(chat.ref, removal, UNCONDITIONAL)


GROWING: Calls = {
    "create": lambda chat: Chat(chat.tier, ref_of("new")).put(),
    "append": lambda chat: chat.say("{}"),
    "append that creates": lambda chat: Chat(chat.tier, ref_of("new")).say("{}"),
    "append that trims": lambda chat: chat.say("{}", change=SettingsChange(max_messages=1)),
    "append of something new": lambda chat: chat.say_once("seen", "new"),
    "set": lambda chat: chat.write({"new": b"1"}),
    "set of what is there": lambda chat: chat.write({"a": b"1"}),
    "set of what gets packed": lambda chat: chat.write({"new": b"x" * 1_000}),
    "set and delete": lambda chat: chat.write({"new": b"1"}, deletes=["a", "b"]),
    "set that creates": lambda chat: Chat(chat.tier, ref_of("new")).write({"new": b"1"}),
    "set with settings": lambda chat: chat.write(
        {"c": b"1"}, change=SettingsChange(max_messages=1)
    ),
    "set that expires": lambda chat: chat.write({"new": b"1"}, key_ttl_ms=60_000),
    "set of what has expired": lambda chat: chat.write({"gone": b"1"}),
    "keyed set": lambda chat: chat.write({"new": b"1"}, idempotency=keyed("new")),
    "keyed append": lambda chat: chat.say("{}", idempotency=keyed("new")),
    "replace": lambda chat: chat.replace("{}"),
    "replace with dedupe": lambda chat: chat.replace_once("seen", "b", "c"),
    "replace that creates": lambda chat: Chat(chat.tier, ref_of("new")).replace(),
    "merge": lambda chat: merge(chat, "a"),
    "merge into nothing": lambda chat: merge(chat, "new"),
    "merge into what has expired": lambda chat: merge(chat, "gone"),
    "copy": copy,
}
GOING_ON: Calls = {
    "read": lambda chat: chat.view(),
    "touch": lambda chat: chat.change(),
    "settings": lambda chat: chat.change(SettingsChange(ttl_ms=60_000, touch=Touch.NEVER)),
    "never": lambda chat: chat.change(SettingsChange(ttl_ms=0)),
    "fewer messages": lambda chat: chat.change(SettingsChange(max_messages=1)),
    "fewer messages in a state call": lambda chat: chat.write(
        deletes=["a"], change=SettingsChange(max_messages=1)
    ),
    "state delete": lambda chat: chat.write(deletes=["a", "b"]),
    "state delete of nothing": lambda chat: chat.write(deletes=["nothing"]),
    "append of duplicates": lambda chat: chat.say_once("seen", "seen"),
    "duplicates and fewer messages": lambda chat: chat.say(
        *(), change=SettingsChange(max_messages=1)
    ),
    "state delete, keyed": lambda chat: chat.write(deletes=["a"], idempotency=keyed("new")),
    "state delete of what expires": lambda chat: chat.write(deletes=["ends"]),
    "delete by prefix": lambda chat: chat.delete_state("a"),
    "delete of all values": lambda chat: chat.delete_state(),
    "append of duplicates, keyed": lambda chat: chat.say_once("seen", idempotency=keyed("new")),
    "repetition of an append": lambda chat: chat.say_once("b", "c", idempotency=keyed("old")),
    "replace by nothing": lambda chat: chat.replace(),
    "clear": lambda chat: chat.clear(),
    "trim": lambda chat: chat.trim(2),
    "trim of nothing": lambda chat: chat.trim(0),
    "delete of the oldest": lambda chat: chat.delete_one(1),
    "delete in the middle": lambda chat: chat.delete_one(2),
    "delete of the newest": lambda chat: chat.delete_one(3),
    "delete of no message": lambda chat: chat.delete_one(9),
    "pop": lambda chat: chat.pop(2),
    "pop of all, keyed": lambda chat: chat.pop(9, idempotency=keyed("new")),
    "pop of nothing, keyed": lambda chat: chat.pop(0, idempotency=keyed("new")),
    "drop of what is beyond": lambda chat: drop(chat, 1),
    "drop of nothing": lambda chat: drop(chat, 9),
    "delete": lambda chat: chat.delete(),
}


@pytest.fixture(scope="module", params=FLAVOURS)
def own_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start_server(request.param, "--maxmemory-policy", "noeviction") as server:
        yield server


@pytest.fixture
def redis(own_server: Server) -> Iterator[Redis]:
    with Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory", 0)
        client.flushall()
        yield client


@pytest.fixture
async def chat(own_server: Server, redis: Redis) -> AsyncIterator[Chat]:
    """A session with messages and state, in a Redis that is full from now on.

    The value `gone` has expired and waits for a write to purge it.
    """
    async with open_store(own_server.url) as store:
        chat = Chat(store)
        await chat.say_once("seen")
        await chat.say_once("b", "c", idempotency=keyed("old"))
        await chat.write({"a": b"1", "b": b"2"})
        await chat.write({"gone": b"1", "ends": b"3"}, key_ttl_ms=60_000)
        redis.zadd(session_keys(chat.ref).expiries.decode(), {"gone": 1})
        redis.config_set("maxmemory", 1)
        yield chat


def everything(redis: Redis) -> dict[object, object]:
    """Every byte of every key."""
    return {name: redis.dump(name) for name in redis.scan_iter()}


@pytest.mark.parametrize("name", GROWING)
async def test_what_grows_is_refused_and_changes_nothing(
    chat: Chat, redis: Redis, name: str
) -> None:
    before, ends = everything(redis), redis.ttl(session_keys(chat.ref).log)
    with pytest.raises(StoreFull):
        await GROWING[name](chat)

    assert everything(redis) == before
    assert redis.ttl(session_keys(chat.ref).log) == ends


@pytest.mark.parametrize("name", GROWING)
async def test_it_goes_on_growing_once_there_is_room(chat: Chat, redis: Redis, name: str) -> None:
    with pytest.raises(StoreFull):
        await GROWING[name](chat)
    redis.config_set("maxmemory", 0)
    await GROWING[name](chat)


@pytest.mark.parametrize("name", GOING_ON)
async def test_what_does_not_grow_goes_on(chat: Chat, name: str) -> None:
    await GOING_ON[name](chat)


async def test_the_calls_that_go_on_do_what_they_say(chat: Chat, redis: Redis) -> None:
    await chat.change(SettingsChange(max_messages=1, ttl_ms=60_000))
    await chat.write(deletes=["a"])

    assert await chat.texts() == ["c"]
    assert await chat.state() == {"b": b"2", "ends": b"3"}
    assert all(59_000 < redis.pttl(key) <= 60_000 for key in session_keys(chat.ref))
    assert not redis.hexists(session_keys(chat.ref).state.decode(), "gone")
    await chat.delete()
    assert redis.dbsize() == 0


async def test_messages_are_removed_and_forgotten(chat: Chat) -> None:
    await chat.delete_one(2)
    assert await chat.texts() == ["seen", "c"]
    popped = await chat.pop(1, idempotency=keyed("new"))
    assert [message.data for message in popped.messages] == [b"c"]
    again = await chat.pop(1, idempotency=keyed("new"))
    assert (again.messages, again.replayed_rev) == (popped.messages, popped.session.etag.rev)
    assert await chat.texts() == ["seen"]
    assert (await chat.trim(9)).count == 1
    assert (await chat.snapshot()).ring == bytes(8 * 3)


async def test_a_refusal_is_remembered(chat: Chat) -> None:
    for is_replayed in (False, True):
        with pytest.raises(PreconditionFailed) as failure:
            await chat.say("{}", conditions=matching("other-1"), idempotency=keyed("new"))
        assert failure.value.is_replayed == is_replayed


async def test_what_a_keyed_call_could_not_do_it_does_once_there_is_room(
    chat: Chat, redis: Redis
) -> None:
    with pytest.raises(StoreFull):
        await chat.say("{}", idempotency=keyed("new"))
    redis.config_set("maxmemory", 0)

    assert (await chat.say("{}", idempotency=keyed("new"))).replayed_rev is None


async def test_a_read_renews_in_a_full_redis_too(own_server: Server, redis: Redis) -> None:
    async with open_store(own_server.url) as store:
        chat = Chat(store)
        await chat.put(SettingsChange(touch=Touch.ACCESS, ttl_ms=60_000))
        redis.config_set("maxmemory", 1)
        key = session_keys(chat.ref).log
        script = """
            local h = cmsgpack.unpack(redis.call('LINDEX', KEYS[1], 0))
            h[6] = h[6] - 5000
            redis.call('PEXPIRE', KEYS[1], 55000)
            redis.call('LSET', KEYS[1], 0, cmsgpack.pack(h))"""
        redis.eval(script, 1, key)
        view = await chat.view(Reading())

    assert view.session.renewed_at_ms == view.now_ms
    assert redis.pttl(key) > 59_000


async def test_a_read_only_redis_still_answers_reads(own_server: Server, redis: Redis) -> None:
    async with open_store(own_server.url) as store:
        chat = Chat(store)
        done = await chat.put(SettingsChange(touch=Touch.ACCESS, ttl_ms=60_000))
        script = """
            local h = cmsgpack.unpack(redis.call('LINDEX', KEYS[1], 0))
            h[6] = h[6] - 5000
            redis.call('LSET', KEYS[1], 0, cmsgpack.pack(h))"""
        redis.eval(script, 1, session_keys(chat.ref).log)
        redis.replicaof("127.0.0.1", "1")
        redis.config_set("replica-serve-stale-data", "yes")
        try:
            view = await chat.view()
        finally:
            redis.replicaof("NO", "ONE")

    assert view.session.etag == done.session.etag
    assert view.session.renewed_at_ms == done.session.renewed_at_ms - 5_000
