"""What Redis sees: one script a mutation, keys of one slot, scripts that it may forget."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.crc import key_slot

from service.store import RedisStore
from service.store.keys import backup_key, lease_key, session_keys
from service.store.scripts import script
from service.writes import SettingsChange
from tests.store_calls import Chat, ref_of

CALLS: dict[str, Callable[[Chat], Coroutine[Any, Any, object]]] = {
    "configure": lambda chat: chat.put(SettingsChange(ttl_ms=60_000, max_messages=2)),
    "append": lambda chat: chat.say_once("a", "b", "c"),
    "remove": lambda chat: chat.pop(1),
    "write_state": lambda chat: chat.write({"a": b"1"}, deletes=["b"], gets=["a"], key_ttl_ms=9),
    "delete_state": lambda chat: chat.delete_state("a"),
    "read": lambda chat: chat.view(),
    "delete": lambda chat: chat.delete(),
}
IDS = ["chat", "{a}b", "a}b", "}", "{", "*", "a*?[b]", " ", "ключ", "a:b", "\U0001f600", "i" * 256]


async def calls_seen(redis: Redis, call: Coroutine[Any, Any, object]) -> list[str]:
    """Return the commands that a call sent, by MONITOR; what scripts do inside is left out."""
    with redis.monitor() as monitor:  # type: ignore[no-untyped-call] # redis-py has no types here
        redis.echo("the beginning")
        await call
        redis.echo("the end")
        seen = []
        while monitor.next_command()["command"] != "ECHO the beginning":
            pass
        while (command := monitor.next_command())["command"] != "ECHO the end":
            if command["client_type"] != "lua":
                seen.append(command["command"].split()[0])
    return seen


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_is_one_script(chat: Chat, redis: Redis, name: str) -> None:
    await chat.put()
    await CALLS[name](chat)
    await chat.put()

    assert await calls_seen(redis, CALLS[name](chat)) == ["EVALSHA"]


@pytest.mark.parametrize("name", CALLS)
async def test_a_script_that_redis_has_forgotten_is_sent_again(
    chat: Chat, redis: Redis, name: str
) -> None:
    await chat.put()
    redis.script_flush()

    assert await calls_seen(redis, CALLS[name](chat)) == ["EVALSHA", "EVAL"]
    await chat.put()
    assert await calls_seen(redis, CALLS[name](chat)) == ["EVALSHA"]


async def test_a_forgotten_script_does_its_work_once(chat: Chat, redis: Redis) -> None:
    for number in range(5):
        redis.script_flush()
        await chat.say(str(number))

    assert await chat.texts() == list("01234")


@pytest.mark.parametrize("name", IDS)
async def test_an_id_is_literal_and_a_session_is_three_keys_at_most(
    store: RedisStore, redis: Redis, name: str
) -> None:
    chat, other = Chat(store, ref_of(name)), Chat(store, ref_of(name, "other"))
    await chat.say("{}")
    await chat.write({"a": b"1"}, key_ttl_ms=60_000)
    await other.say("{}")
    await other.write({"b": b"1"})

    mine, others = session_keys(chat.ref), session_keys(other.ref)
    assert set(redis.keys()) == {*mine, others.log, others.state}
    await other.delete()
    assert set(redis.keys()) == set(mine)
    assert await chat.state() == {"a": b"1"}


NAMES = st.text(st.sampled_from("ab{}:ms*"), min_size=1, max_size=6) | st.text(min_size=1)
NAMESPACES = st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True)


@given(name=NAMES, namespace=NAMESPACES)
def test_all_keys_of_a_session_share_a_slot(name: str, namespace: str) -> None:
    ref = ref_of(name, namespace)
    keys = (*session_keys(ref), lease_key(ref), backup_key(ref))

    assert len(set(map(key_slot, keys))) == 1
    assert len(set(keys)) == len(keys)


@given(one=st.tuples(NAMES, NAMESPACES), other=st.tuples(NAMES, NAMESPACES))
def test_two_sessions_share_no_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    first, second = (
        {*session_keys(ref), lease_key(ref), backup_key(ref)}
        for ref in (ref_of(*one), ref_of(*other))
    )

    assert bool(first & second) == (one == other)


def test_sessions_spread_over_slots() -> None:
    slots = {key_slot(session_keys(ref_of(f"chat-{i}")).log) for i in range(1_000)}

    assert len(slots) > 900


def test_only_reading_may_be_repeated() -> None:
    writes = {name: script(name).writes for name in CALLS}

    assert writes == {name: name != "read" for name in CALLS}
