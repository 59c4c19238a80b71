"""Answers without a word of Redis: only while it tells of every change, and what it let stand."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import pytest
from redis import Redis

from service.clock import SystemClock
from service.hot import HotTier
from service.model import Freshness, Limits, Reading, StateKey, StatePart, Touch, Value, Window
from service.sealing import Sealer
from service.sessions import Sessions
from service.store import Link, RedisTarget, refs_of, tracking
from service.store.keys import ref_of_key
from service.writes import SettingsChange
from tests.polling import eventually
from tests.servers import Server
from tests.store_calls import CHAT, Chat, ref_of
from tests.use_cases import HeldStore, StepClock

LAST = Reading(window=Window(limit=3))
VALUE = Reading(state=StatePart.SOME, keys=(StateKey("a"),))


@dataclass(frozen=True, slots=True)
class Process:
    """One of the processes that share a Redis."""

    link: Link
    store: HeldStore
    hot: HotTier
    sessions: Sessions
    clock: StepClock

    @property
    def chat(self) -> Chat:
        return Chat(self.sessions)

    async def asks(self, reading: Reading = LAST) -> bool:
        """Read, and tell whether Redis was asked for it."""
        before = self.store.calls["read"]
        await self.sessions.read(CHAT, reading)
        return self.store.calls["read"] > before

    async def is_trusting(self) -> bool:
        """Read until it is answered from memory: pushes of former writes may be on their way."""
        return not await eventually(self.asks, lambda asked: not asked)


def start_process(url: str) -> Process:
    clock = StepClock()
    hot = HotTier(1_000_000, is_told=lambda: link.is_tracking)
    link = Link(RedisTarget(url=url), lambda names: hot.invalidate(refs_of(names)))
    store = HeldStore(link)
    return Process(
        link, store, hot, Sessions(store, hot, Sealer(store, hot, clock), clock, Limits()), clock
    )


@pytest.fixture
async def one(server: Server) -> AsyncIterator[Process]:
    process = start_process(server.url)
    yield process
    await process.link.aclose()


@pytest.fixture
async def other(server: Server) -> AsyncIterator[Process]:
    process = start_process(server.url)
    yield process
    await process.link.aclose()


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    with Redis.from_url(server.url) as client:
        yield client


async def test_what_nobody_changed_is_answered_from_memory(one: Process) -> None:
    await one.chat.say("{}", "{}")
    await one.chat.write({"a": b"1"})
    assert await one.is_trusting()
    before = one.store.calls.copy()
    for _ in range(5):
        assert await one.chat.texts() == ["{}", "{}"]
        assert await one.chat.state() == {"a": b"1"}

    assert one.store.calls["read"] - before["read"] <= 1  # all of the state was not held yet
    assert one.hot.status.hits >= 9


async def test_a_process_sees_each_of_its_own_writes_at_once(one: Process) -> None:
    for number in range(50):
        await one.chat.say(f'{{"n":{number}}}')
        assert (await one.chat.texts())[-1] == f'{{"n":{number}}}'
        await one.chat.write({"a": b"%d" % number})
        assert (await one.chat.state())["a"] == b"%d" % number


async def test_a_write_of_another_process_is_seen_as_soon_as_it_is_told(
    one: Process, other: Process
) -> None:
    await one.chat.say("{}")
    for number in range(30):
        assert await one.is_trusting()
        said = f'{{"n":{number}}}'
        await other.chat.say(said)
        await eventually(one.chat.texts, partial(_ends_with, said))


async def test_what_a_push_overtook_is_not_trusted(one: Process, other: Process) -> None:
    await other.chat.say("1")
    one.store.is_holding = True
    early = asyncio.create_task(one.sessions.read(CHAT, LAST))
    await one.store.reach(1)
    await other.chat.say("2")
    fills = one.hot._fills[CHAT]
    await eventually(lambda: _told(fills[0].is_unsure), bool)
    one.store.release()
    await early

    assert not one.hot.is_verified(CHAT)
    assert await one.chat.texts() == ["1", "2"]


def _ends_with(said: str, texts: list[str]) -> bool:
    return texts[-1] == said


async def _told(value: object) -> object:
    return value


@pytest.mark.parametrize(
    "change",
    [
        lambda redis: redis.delete("b:{default:chat}m"),
        lambda redis: redis.flushall(),
        lambda redis: redis.pexpire("b:{default:chat}m", 1),
    ],
)
async def test_what_is_gone_from_redis_is_soon_gone_from_answers(
    one: Process, redis: Redis, change: object
) -> None:
    assert callable(change)
    await one.chat.say("{}")
    assert await one.is_trusting()
    change(redis)

    await eventually(one.chat.is_absent, bool)


async def test_a_lost_connection_makes_all_unverified_and_drops_nothing(
    one: Process, redis: Redis
) -> None:
    await one.chat.say("{}")
    assert await one.is_trusting()
    redis.client_kill_filter(_type="normal", skipme=True)
    await eventually(lambda: _told(one.hot.is_verified(CHAT)), lambda is_verified: not is_verified)

    assert one.hot.peek(CHAT) is not None
    assert await one.asks()
    assert await one.is_trusting()


async def test_silence_ends_the_trust(one: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    await one.chat.say("{}")
    assert await one.is_trusting()
    monkeypatch.setattr(tracking, "TRUST_SECONDS", 0)

    assert await one.asks()
    assert await one.asks()


async def test_an_expiry_that_has_passed_is_left_to_redis(one: Process) -> None:
    await one.chat.put(SettingsChange(ttl_ms=60_000))
    assert await one.is_trusting()
    one.clock.ahead_seconds = 61

    assert await one.asks()


async def test_reads_that_renew_go_to_redis_once_a_second(one: Process) -> None:
    await one.chat.put(SettingsChange(ttl_ms=60_000, touch=Touch.ACCESS))
    assert await one.is_trusting()
    one.clock.ahead_seconds = 1.1

    assert await one.asks()


async def test_keys_with_a_life_of_their_own_are_left_to_redis(one: Process) -> None:
    await one.chat.write({"a": b"1"}, key_ttl_ms=60_000)
    for _ in range(3):
        assert await one.asks(VALUE)
    await one.chat.write({"a": Value(b"2")})

    assert await eventually(lambda: one.asks(VALUE), lambda asked: not asked) is False


async def test_no_cache_always_asks(one: Process) -> None:
    await one.chat.say("{}")
    assert await one.is_trusting()
    before = one.store.calls["read"]
    await one.sessions.read(CHAT, LAST, Freshness(no_cache=True))

    assert one.store.calls["read"] == before + 1


async def test_without_a_channel_every_read_asks(server: Server) -> None:
    hot, clock = HotTier(1_000_000), SystemClock()
    link = Link(RedisTarget(url=server.url))
    store = HeldStore(link)
    chat = Chat(Sessions(store, hot, Sealer(store, hot, clock), clock, Limits()))
    await chat.say("{}")
    for _ in range(3):
        await chat.page(Window(limit=3))

    assert store.calls["read"] == 3
    await link.aclose()


def test_a_key_names_its_session_and_nothing_else_does() -> None:
    assert ref_of_key(b"b:{default:chat}m") == CHAT
    assert ref_of_key(b"b:{ns:a:b}x}m") == ref_of("a:b}x", "ns")
    assert refs_of([b"b:{default:chat}s", b"b:{default:chat}x"]) == [CHAT, CHAT]
    assert refs_of([b"b:{default:chat}l", b"other", b"b:{x"]) == []
    assert refs_of(None) is None
