"""One expiry for all keys of a session, decided by Redis's clock."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from redis import Redis

from service.model import Reading, Session, StateKey, StatePart, Touch
from service.store.keys import session_keys
from service.writes import SettingsChange
from tests.servers import Server
from tests.store_calls import Chat, keyed

MUTATIONS: dict[str, Callable[[Chat], Coroutine[Any, Any, object]]] = {
    "append": lambda chat: chat.say("{}"),
    "append of a duplicate": lambda chat: chat.say_once("seen"),
    "append with a ttl": lambda chat: chat.say("{}", change=SettingsChange(ttl_ms=5_000)),
    "set": lambda chat: chat.write({"new": b"1"}),
    "first state": lambda chat: chat.write({"a": b"1"}),
    "delete of a key": lambda chat: chat.write(deletes=["new"]),
    "delete of no key": lambda chat: chat.write(deletes=["nothing"]),
    "settings": lambda chat: chat.put(SettingsChange(ttl_ms=7_000)),
    "touch": lambda chat: chat.change(),
    "never": lambda chat: chat.put(SettingsChange(ttl_ms=0)),
    "capped": lambda chat: chat.put(SettingsChange(max_age_ms=50_000)),
    "trim": lambda chat: chat.put(SettingsChange(max_messages=1)),
    "replace": lambda chat: chat.replace("{}", "{}"),
    "replace by nothing": lambda chat: chat.replace(),
    "clear": lambda chat: chat.clear(),
    "trim before": lambda chat: chat.trim(2),
    "delete of the oldest": lambda chat: chat.delete_one(1),
    "delete in the middle": lambda chat: chat.delete_one(2),
    "delete of the newest": lambda chat: chat.delete_one(3),
    "delete of no message": lambda chat: chat.delete_one(9),
    "pop": lambda chat: chat.pop(1),
    "pop of nothing": lambda chat: chat.pop(0),
    "set that expires": lambda chat: chat.write({"new": b"1"}, key_ttl_ms=60_000),
    "delete by prefix": lambda chat: chat.delete_state("new"),
    "keyed append": lambda chat: chat.say("{}", idempotency=keyed()),
}


# In one script, so that no time passes between the looks.
LOOK = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
return {now, redis.call('PTTL', KEYS[1]), redis.call('PTTL', KEYS[2]), redis.call('PTTL', KEYS[3])}
"""


def look(redis: Redis, chat: Chat) -> tuple[int, list[int]]:
    """Redis's time, and the milliseconds that the session's keys have left; -1 = for ever."""
    reply = redis.eval(LOOK, 3, *(key.decode() for key in session_keys(chat.ref)))
    assert isinstance(reply, list)
    now_ms, *left = reply
    return now_ms, [ms for ms in left if ms != -2]


def expiries(redis: Redis, chat: Chat) -> list[int]:
    return look(redis, chat)[1]


def check_expiry(redis: Redis, chat: Chat, session: Session) -> None:
    now_ms, left = look(redis, chat)
    if session.expires_at_ms is None:
        assert set(left) == {-1}
        return
    assert all(abs(session.expires_at_ms - now_ms - ms) <= 1 for ms in left)
    assert max(left) - min(left) <= 1


@pytest.mark.parametrize("name", MUTATIONS)
async def test_all_keys_end_together_after_each_mutation(
    chat: Chat, redis: Redis, name: str
) -> None:
    await chat.say_once("seen", "b", "c")
    await chat.write({"old": b"1"}, key_ttl_ms=3_600_000)
    for key in session_keys(chat.ref):
        redis.pexpire(key, 100_000 if key.endswith(b"m") else 200_000)
    await MUTATIONS[name](chat)

    view = await chat.view(Reading())
    check_expiry(redis, chat, view.session)
    assert len(expiries(redis, chat)) == 3


@pytest.mark.parametrize("name", MUTATIONS)
async def test_all_keys_name_the_same_millisecond(
    chat: Chat, redis: Redis, server: Server, name: str
) -> None:
    if server.flavour == "redis62":
        pytest.skip("PEXPIRETIME came with 7.0")
    await chat.say_once("seen", "b", "c")
    await chat.write({"old": b"1"}, key_ttl_ms=3_600_000)
    await MUTATIONS[name](chat)

    expected = (await chat.view(Reading())).session.expires_at_ms or -1
    ends = [redis.pexpiretime(key.decode()) for key in session_keys(chat.ref)]
    assert ends == [expected, expected, expected]


async def test_a_session_made_with_an_expiry_of_a_key_ends_with_all_of_them(
    chat: Chat, redis: Redis
) -> None:
    done = await chat.write({"a": b"1"}, key_ttl_ms=60_000)

    check_expiry(redis, chat, done.session)
    assert len(expiries(redis, chat)) == 3


async def test_a_read_of_one_key_asks_for_the_expiry_of_no_other(chat: Chat, redis: Redis) -> None:
    await chat.write(dict.fromkeys("abc", b"1"), key_ttl_ms=60_000)
    reading = Reading(state=StatePart.SOME, keys=(StateKey("b"), StateKey("none")))

    with redis.monitor() as monitor:  # type: ignore[no-untyped-call] # redis-py has it bare
        view = await chat.view(reading)
        redis.ping()
        lines = iter(lambda: monitor.next_command()["command"], "PING")
        asked = {line.split()[0].upper() for line in lines}

    found = view.values[StateKey("b")]
    assert found is not None
    assert found.expires_at_ms is not None
    assert "ZSCORE" in asked
    assert "ZRANGE" not in asked


async def test_a_write_renews_by_default(chat: Chat) -> None:
    first = (await chat.put(SettingsChange(ttl_ms=60_000))).session
    await anyio.sleep(0.003)
    second = (await chat.say("{}")).session

    assert second.renewed_at_ms > first.renewed_at_ms
    assert second.expires_at_ms == second.renewed_at_ms + 60_000


async def test_a_read_renews_only_in_access_mode(chat: Chat, redis: Redis) -> None:
    await chat.put(SettingsChange(ttl_ms=60_000))
    await chat.write({"a": b"1"})
    age_by(redis, chat, 2_000)
    assert (await chat.view(Reading())).session.renewed_at_ms < now_ms(redis) - 1_500

    await chat.put(SettingsChange(touch=Touch.ACCESS))
    age_by(redis, chat, 2_000)
    view = await chat.view(Reading())
    assert view.session.renewed_at_ms == view.now_ms
    check_expiry(redis, chat, view.session)


async def test_a_read_renews_at_most_once_a_second(chat: Chat, redis: Redis) -> None:
    await chat.put(SettingsChange(ttl_ms=60_000, touch=Touch.ACCESS))
    age_by(redis, chat, 500)
    before = (await chat.view(Reading())).session.renewed_at_ms

    assert before < now_ms(redis) - 400


async def test_a_read_that_finds_the_same_renews_too(chat: Chat, redis: Redis) -> None:
    done = await chat.put(SettingsChange(ttl_ms=60_000, touch=Touch.ACCESS))
    age_by(redis, chat, 2_000)
    view = await same(chat, str(done.session.etag)[1:-1])

    assert view.is_same
    assert view.session.renewed_at_ms == view.now_ms
    assert view.session.etag == done.session.etag


async def test_a_session_that_is_never_renewed_keeps_its_end(chat: Chat) -> None:
    first = (await chat.put(SettingsChange(ttl_ms=60_000, touch=Touch.NEVER))).session
    await anyio.sleep(0.003)
    second = (await chat.say("{}")).session
    third = await chat.change()

    assert third is not None
    assert first.expires_at_ms == second.expires_at_ms == third.session.expires_at_ms


@pytest.mark.parametrize("touch", list(Touch))
async def test_a_named_ttl_counts_from_now_in_every_mode(chat: Chat, touch: Touch) -> None:
    await chat.put(SettingsChange(ttl_ms=60_000, touch=touch))
    await anyio.sleep(0.003)
    done = await chat.put(SettingsChange(ttl_ms=60_000))

    assert done.session.expires_at_ms == done.now_ms + 60_000


async def test_the_absolute_cap_wins_over_the_sliding_expiry(chat: Chat, redis: Redis) -> None:
    done = await chat.put(SettingsChange(ttl_ms=60_000, max_age_ms=30_000))
    await chat.write({"a": b"1"})
    said = await chat.say("{}")

    assert said.session.expires_at_ms == done.session.created_at_ms + 30_000
    check_expiry(redis, chat, said.session)


async def test_what_has_expired_is_absent_and_its_id_is_free(chat: Chat, redis: Redis) -> None:
    await chat.say("{}", change=SettingsChange(ttl_ms=30))
    await chat.write({"a": b"1"})
    await until_gone(chat)
    done = await chat.say("{}")

    assert done.session.etag.rev == 1
    assert done.session.state_key_count == 0
    assert redis.dbsize() == 1


async def test_a_cap_that_has_passed_ends_the_session_and_is_no_error(chat: Chat) -> None:
    await chat.put()
    await anyio.sleep(0.003)
    done = await chat.put(SettingsChange(max_age_ms=1))

    assert done.changed
    await until_gone(chat)


async def test_a_large_write_with_the_shortest_ttl_is_no_error(chat: Chat) -> None:
    await chat.put()
    values = {f"key-{i}": b"1" * 1_000 for i in range(5_000)}
    done = await chat.write(values, change=SettingsChange(ttl_ms=1))

    assert done.added == 5_000
    await until_gone(chat)


async def test_state_that_outlived_its_session_does_not_come_back(chat: Chat, redis: Redis) -> None:
    await chat.write({"secret": b"1"})
    redis.delete(session_keys(chat.ref).log)  # as an eviction policy would
    assert await chat.is_absent()

    assert (await chat.put()).session.state_key_count == 0
    assert await chat.state() == {}


async def same(chat: Chat, tag: str) -> Any:  # noqa: ANN401 # a View, or the test fails
    return await chat.tier.read(chat.ref, Reading(), tag)  # type: ignore[call-arg]


async def until_gone(chat: Chat) -> None:
    deadline = time.monotonic() + 2
    while not await chat.is_absent():
        assert time.monotonic() < deadline
        await anyio.sleep(0.002)


def now_ms(redis: Redis) -> int:
    seconds, microseconds = redis.time()
    return int(seconds * 1000 + microseconds // 1000)


def age_by(redis: Redis, chat: Chat, ms: int) -> None:
    """Make a session look as if it had last been renewed that much earlier."""
    script = """
        local h = cmsgpack.unpack(redis.call('LINDEX', KEYS[1], 0))
        h[6] = h[6] - ARGV[1]
        redis.call('LSET', KEYS[1], 0, cmsgpack.pack(h))"""
    redis.eval(script, 1, session_keys(chat.ref).log, ms)
