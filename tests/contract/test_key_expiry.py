"""State keys that expire by themselves: judged by Redis's clock, purged by the next write."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis import Redis

from service.errors import PreconditionFailed
from service.model import (
    ANY,
    Namespace,
    Reading,
    StateKey,
    StatePart,
    StoredValue,
    Touch,
    Value,
    View,
)
from service.store import Directory, RedisStore
from service.store.keys import session_keys
from service.writes import SettingsChange
from tests.polling import eventually
from tests.store_calls import UNCONDITIONAL, Chat, lives, matching, not_matching, tag_of, writing

A_MINUTE_MS = 60_000
PURGED_AT_ONCE = 2_000


def expire(redis: Redis, chat: Chat, *keys: str) -> None:
    """Let keys have expired a while ago."""
    redis.zadd(session_keys(chat.ref).expiries.decode(), dict.fromkeys(keys, 1), xx=True)


def expiries(redis: Redis, chat: Chat) -> dict[str, float]:
    pairs: Any = redis.zrange(session_keys(chat.ref).expiries.decode(), 0, -1, withscores=True)
    return {key.decode(): score for key, score in pairs}


def held(redis: Redis, chat: Chat) -> set[str]:
    """Names that Redis holds, whether they have expired or not."""
    names: Any = redis.hkeys(session_keys(chat.ref).state.decode())
    return {name.decode() for name in names}


async def some(chat: Chat, *keys: str) -> View:
    return await chat.view(Reading(state=StatePart.SOME, keys=tuple(map(StateKey, keys))))


async def test_a_key_is_gone_once_its_time_is_over(chat: Chat) -> None:
    done = await chat.write({"a": b"1"}, key_ttl_ms=30)
    await chat.write({"b": b"1"})

    async def read() -> View:
        return await some(chat, "a", "b")

    view = await eventually(read, lambda view: view.values[StateKey("a")] is None)
    assert view.now_ms >= done.now_ms + 30
    assert view.values[StateKey("b")] is not None
    assert view.session.state_key_count == 1


async def test_a_read_tells_when_a_key_expires(chat: Chat) -> None:
    done = await chat.write({"a": b"1"}, key_ttl_ms=A_MINUTE_MS, gets=["a"])
    await chat.write({"b": b"1"})
    ends = {"a": done.now_ms + A_MINUTE_MS, "b": None}

    for view in (await some(chat, "a", "b"), await chat.view()):
        assert {key: v and v.expires_at_ms for key, v in view.values.items()} == ends
    assert (await chat.view(Reading(state=StatePart.NAMES))).names == ends
    assert done.values[StateKey("a")] == StoredValue(Value(b"1"), done.tag, ends["a"])


async def test_no_read_shows_what_has_expired(chat: Chat, redis: Redis, store: RedisStore) -> None:
    await chat.write({"a": b"1", "b": b"2"}, key_ttl_ms=A_MINUTE_MS)
    await chat.write({"c": b"3"})
    expire(redis, chat, "a")

    view = await some(chat, "c", "a", "b")
    assert [stored and stored.value.data for stored in view.values.values()] == [b"3", None, b"2"]
    assert set(await chat.state()) == {"b", "c"}
    assert set((await chat.view(Reading(state=StatePart.NAMES))).names) == {"b", "c"}
    assert view.session.state_key_count == 2
    listing = await Directory(store._link).page(Namespace("default"), "", 10, None)
    assert [session.state_key_count for session in listing.sessions] == [2]
    assert held(redis, chat) == {"a", "b", "c"}


async def test_a_batch_does_not_get_what_has_expired(chat: Chat, redis: Redis) -> None:
    await chat.write({"a": b"1", "b": b"1"}, key_ttl_ms=A_MINUTE_MS)
    expire(redis, chat, "a")
    done = await chat.write(gets=["a", "b"])

    assert {key: stored is not None for key, stored in done.values.items()} == {
        "a": False,
        "b": True,
    }


async def test_what_has_expired_counts_as_new_when_it_is_set(chat: Chat, redis: Redis) -> None:
    await chat.write({"a": b"1", "b": b"1"}, key_ttl_ms=A_MINUTE_MS)
    expire(redis, chat, "a")
    done = await chat.write({"a": b"2", "b": b"2"})

    assert done.added == 1
    assert done.session.state_key_count == 2
    assert await chat.state() == {"a": b"2", "b": b"2"}
    assert expiries(redis, chat) == {}


async def test_what_has_expired_is_no_deletion(chat: Chat, redis: Redis) -> None:
    before = await chat.write({"a": b"1", "b": b"1"}, key_ttl_ms=A_MINUTE_MS)
    expire(redis, chat, "a", "b")
    done = await chat.write(deletes=["a"])

    assert (done.deleted, done.changed) == (0, False)
    assert done.session.etag == before.session.etag
    by_prefix = await chat.delete_state("b")
    assert (by_prefix.deleted, by_prefix.changed) == (0, False)
    assert held(redis, chat) == set()


@pytest.mark.parametrize("prefix", ["", "a"])
async def test_a_deletion_by_prefix_counts_what_is_alive(
    chat: Chat, redis: Redis, prefix: str
) -> None:
    await chat.write(dict.fromkeys(["a1", "a2", "a3"], b"1"), key_ttl_ms=A_MINUTE_MS)
    expire(redis, chat, "a2")
    done = await chat.delete_state(prefix)

    assert done.deleted == 2
    assert done.session.state_key_count == 0
    assert redis.keys() == [session_keys(chat.ref).log]


async def test_a_condition_on_an_expired_value_finds_none(chat: Chat, redis: Redis) -> None:
    old = await chat.write({"a": b"1"}, key_ttl_ms=A_MINUTE_MS)
    tag = f"{old.session.etag.gen}-{old.tag}"
    with pytest.raises(PreconditionFailed):
        await chat.write({"a": b"2"}, own_key="a", conditions=not_matching(ANY))
    expire(redis, chat, "a")
    for guard in (matching(tag), matching(ANY)):
        with pytest.raises(PreconditionFailed) as failure:
            await chat.write({"a": b"2"}, own_key="a", conditions=guard)
        assert failure.value.etag is None

    done = await chat.write({"a": b"2"}, own_key="a", conditions=not_matching(ANY))
    assert done.added == 1


PURGES: dict[str, Callable[[Chat], Awaitable[object]]] = {
    "set": lambda chat: chat.write({"new": b"1"}),
    "delete of a value": lambda chat: chat.write(deletes=["nothing"]),
    "delete by prefix": lambda chat: chat.delete_state("nothing"),
    "append": lambda chat: chat.say("x"),
    "replace": lambda chat: chat.replace("x"),
    "pop": lambda chat: chat.pop(1),
    "touch": lambda chat: chat.change(),
}


@pytest.mark.parametrize("name", PURGES)
async def test_each_write_purges(chat: Chat, redis: Redis, name: str) -> None:
    await chat.write({"a": b"1", "b": b"1"}, key_ttl_ms=A_MINUTE_MS)
    expire(redis, chat, "a")
    count = (await chat.view(Reading())).session.state_key_count
    await PURGES[name](chat)

    assert not redis.hexists(session_keys(chat.ref).state.decode(), "a")
    assert set(expiries(redis, chat)) == {"b"}
    assert count == 1


async def test_a_read_that_renews_purges_too(chat: Chat, redis: Redis) -> None:
    await chat.put(SettingsChange(touch=Touch.ACCESS))
    await chat.write({"a": b"1", "b": b"1"}, key_ttl_ms=A_MINUTE_MS)
    expire(redis, chat, "a")
    script = """
        local h = cmsgpack.unpack(redis.call('LINDEX', KEYS[1], 0))
        h[6] = h[6] - 2000
        redis.call('LSET', KEYS[1], 0, cmsgpack.pack(h))"""
    redis.eval(script, 1, session_keys(chat.ref).log)

    assert await chat.state() == {"b": b"1"}
    assert held(redis, chat) == {"b"}


async def test_what_was_purged_last_leaves_no_third_key(chat: Chat, redis: Redis) -> None:
    await chat.write({"a": b"1"}, key_ttl_ms=A_MINUTE_MS)
    expire(redis, chat, "a")
    await chat.say("x")

    assert redis.keys() == [session_keys(chat.ref).log]
    assert (await chat.say("y")).session.state_key_count == 0


async def test_a_session_without_any_such_key_has_no_third_key(chat: Chat, redis: Redis) -> None:
    await chat.say("x")
    await chat.write({"a": b"1"})
    log, state, _ = session_keys(chat.ref)

    assert set(redis.keys()) == {log, state}


async def test_a_set_with_another_time_counts_from_now(chat: Chat, redis: Redis) -> None:
    await chat.write({"a": b"1"}, key_ttl_ms=A_MINUTE_MS)
    done = await chat.write({"a": b"1"}, key_ttl_ms=2 * A_MINUTE_MS)

    assert expiries(redis, chat) == {"a": done.now_ms + 2 * A_MINUTE_MS}


async def test_a_set_without_a_time_clears_it(chat: Chat, redis: Redis) -> None:
    await chat.write({"a": b"1", "b": b"1"}, key_ttl_ms=A_MINUTE_MS)
    await chat.write({"a": b"2"})
    assert set(expiries(redis, chat)) == {"b"}
    await chat.write({"b": b"2"})

    assert not redis.exists(session_keys(chat.ref).expiries)
    assert await chat.state() == {"a": b"2", "b": b"2"}


async def test_a_time_is_for_what_is_set_not_for_what_is_deleted(chat: Chat, redis: Redis) -> None:
    done = await chat.write({"a": b"1", "b": b"1"}, deletes=["b"], key_ttl_ms=A_MINUTE_MS)

    assert (done.added, done.deleted) == (2, 1)
    assert set(expiries(redis, chat)) == {"a"}
    await chat.write(deletes=["a"], key_ttl_ms=A_MINUTE_MS)
    assert not redis.exists(session_keys(chat.ref).expiries)


async def test_a_key_that_was_deleted_and_set_again_does_not_expire(
    chat: Chat, redis: Redis
) -> None:
    for delete in (chat.write(deletes=["a"]), chat.delete_state("a"), chat.delete_state()):
        await chat.write({"a": b"1"}, key_ttl_ms=A_MINUTE_MS)
        await delete
        await chat.write({"a": b"2"})
        assert expiries(redis, chat) == {}


async def merge(chat: Chat, store: RedisStore, base: StoredValue, data: bytes) -> None:
    merged = {StateKey("a"): StoredValue(Value(data), base.tag)}
    done = await store.write_state(chat.ref, writing(), UNCONDITIONAL, merged)
    assert done is not None


async def test_a_merge_keeps_the_time(chat: Chat, store: RedisStore, redis: Redis) -> None:
    done = await chat.write({"a": b"{}"}, key_ttl_ms=A_MINUTE_MS, gets=["a"])
    base = done.values[StateKey("a")]
    assert base is not None
    await merge(chat, store, base, b'{"b":1}')

    stored = (await some(chat, "a")).values[StateKey("a")]
    assert stored is not None
    assert (stored.value.data, stored.expires_at_ms) == (b'{"b":1}', base.expires_at_ms)


async def test_a_merge_into_what_has_expired_is_one_into_nothing(
    chat: Chat, store: RedisStore, redis: Redis
) -> None:
    await chat.write({"a": b"{}", "b": b"1"}, key_ttl_ms=A_MINUTE_MS)
    expire(redis, chat, "a")
    await merge(chat, store, StoredValue(Value(b""), 0), b'{"c":1}')

    stored = (await some(chat, "a")).values[StateKey("a")]
    assert stored is not None
    assert (stored.value.data, stored.expires_at_ms) == (b'{"c":1}', None)
    assert set(expiries(redis, chat)) == {"b"}


async def test_thousands_that_expired_at_once_are_purged_by_several_writes(
    chat: Chat, redis: Redis
) -> None:
    names = [f"k{number}" for number in range(2 * PURGED_AT_ONCE + 500)]
    await chat.write(dict.fromkeys(names, b"1"), key_ttl_ms=A_MINUTE_MS)
    await chat.write({"alive": b"1"}, key_ttl_ms=A_MINUTE_MS)
    before = tag_of((await chat.write({"stays": b"1"})).session)
    expire(redis, chat, *names)

    for left in (PURGED_AT_ONCE + 500, 500, 0, 0):
        done = await chat.write(deletes=["nothing"], gets=["k0", names[-1], "alive"])
        assert [stored is not None for stored in done.values.values()] == [False, False, True]
        assert len(held(redis, chat)) == left + 2
        assert done.session.state_key_count == 2
        assert set(await chat.state()) == {"alive", "stays"}
        assert tag_of(done.session) == before


async def test_all_keys_of_the_session_share_its_expiry(chat: Chat, redis: Redis) -> None:
    change = SettingsChange(ttl_ms=A_MINUTE_MS)
    await chat.write({"a": b"1"}, key_ttl_ms=10 * A_MINUTE_MS, change=change)
    await chat.say("x")

    left = lives(redis, chat.ref)
    assert all(A_MINUTE_MS - 1_000 < ms <= A_MINUTE_MS for ms in left)
