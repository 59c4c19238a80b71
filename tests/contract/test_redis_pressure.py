"""A Redis that is really full: old history gets packed, and messages are lost only on request."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest
from redis import Redis

from service.chunks import MOST_PACKED_BYTES
from service.clock import SystemClock
from service.errors import StoreFull, Unavailable
from service.hot import HotTier
from service.redis_pressure import (
    DROP_AGAIN_SECONDS,
    LATE_SECONDS,
    PACK_AGAIN_SECONDS,
    RedisPolicy,
    RedisPressure,
)
from service.rounds import Rounds
from service.sealing import Sealer
from service.store import Census, Link, RedisStore, RedisTarget, Watch
from service.vitals import Tier
from tests.conftest import FLAVOURS
from tests.contract.test_commands import calls_seen
from tests.servers import Server, start_server
from tests.store_calls import DEFAULTS, Chat, ref_of
from tests.use_cases import LIMITS, StepClock

KEEP = 20
MESSAGES = 200
WORDS = "as is usual here " * 4
FULL = ("--maxmemory", "6mb", "--maxmemory-policy", "noeviction")


@dataclass(frozen=True, slots=True)
class Parts:
    """What governs Redis, with a clock that a test may put ahead."""

    pressure: RedisPressure
    watch: Watch
    store: RedisStore
    rounds: Rounds
    clock: StepClock

    async def tick_until_it_rests(self) -> None:
        """Tick until a tick finds nothing to do."""
        while True:
            before = self.pressure.counters
            await self.watch.look()
            await self.pressure.tick()
            if self.pressure.counters == before:
                return


def parts_of(link: Link, policy: RedisPolicy) -> Parts:
    hot, clock = HotTier(10_000_000), StepClock()
    store, watch = RedisStore(link, LIMITS, DEFAULTS), Watch(link, clock, connections_max=4)
    rounds = Rounds(Census(link), store, hot, Sealer(store, hot, clock), SystemClock())
    return Parts(RedisPressure(watch, rounds, clock, policy), watch, store, rounds, clock)


@pytest.fixture(scope="module", params=FLAVOURS)
def small_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start_server(request.param, *FULL) as server:
        yield server


@pytest.fixture
def redis(small_server: Server) -> Iterator[Redis]:
    with Redis.from_url(small_server.url) as client:
        client.flushall()
        client.script_flush()
        yield client


@pytest.fixture
async def link(small_server: Server, redis: Redis) -> AsyncIterator[Link]:
    link = Link(RedisTarget(url=small_server.url))
    yield link
    await link.aclose()


async def fill(store: RedisStore, say: Callable[[Chat], Awaitable[None]]) -> list[Chat]:
    """Fill Redis to the last byte with sessions that nobody packs; return them."""
    chats: list[Chat] = []
    try:
        while True:
            chat = Chat(store, ref_of(str(len(chats))))
            await chat.write({"a": b"1"})
            chats.append(chat)
            await say(chat)
    except StoreFull:
        return chats


async def say_much(chat: Chat) -> None:
    for first in range(0, MESSAGES, 20):
        await chat.say(*(f'{{"n":{n},"t":"{WORDS}"}}' for n in range(first, first + 20)))


async def say_what_is_never_packed(chat: Chat) -> None:
    for n in range(4):
        await chat.say(f"{n}{'0' * (MOST_PACKED_BYTES + 1)}")


async def texts_of(chats: list[Chat]) -> list[list[str]]:
    return [await chat.texts() for chat in chats]


@pytest.mark.parametrize("policy", [RedisPolicy(), RedisPolicy(enabled=False, keep_messages=KEEP)])
async def test_a_full_redis_loses_nothing_that_nobody_gave_up(
    link: Link, redis: Redis, policy: RedisPolicy
) -> None:
    parts = parts_of(link, policy)
    chats = await fill(parts.store, say_much)
    before = await texts_of(chats)
    await parts.watch.look()
    assert (parts.watch.status.fraction or 0) > 0.99
    await parts.tick_until_it_rests()

    assert await texts_of(chats) == before
    assert parts.pressure.status.dropped_messages == 0
    assert parts.pressure.counters["redisDroppedMessages"] == 0
    packed = parts.pressure.counters["redisPackedSessions"]
    assert (packed > 0) == policy.enabled


async def test_packing_makes_room_in_a_full_redis(
    link: Link, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is dropped, though it might be: packed, all has room again."""
    parts = parts_of(link, RedisPolicy(keep_messages=KEEP))
    chats = await fill(parts.store, say_much)
    before = await texts_of(chats)
    with caplog.at_level(logging.INFO, logger="ballast.redis"):
        await parts.tick_until_it_rests()

    counters = parts.pressure.counters
    assert parts.pressure.status.tier is Tier.NORMAL
    assert await texts_of(chats) == before
    assert counters["redisSweepBytesAfter"] < 0.7 * counters["redisSweepBytesBefore"]
    assert (counters["redisSweeps"], counters["redisDroppedMessages"]) == (1, 0)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO", "INFO"]
    assert (await chats[0].say("{}")).count == 1


async def test_what_may_go_goes_when_packing_was_not_enough(
    link: Link, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """The positive control of the above: with the setting messages are lost; state never is."""
    parts = parts_of(link, RedisPolicy(keep_messages=1))
    chats = await fill(parts.store, say_what_is_never_packed)
    before = await texts_of(chats)
    await parts.tick_until_it_rests()

    after, status = await texts_of(chats), parts.pressure.status
    assert all(now in (was, was[-1:]) for now, was in zip(after, before, strict=True))
    lengths = [len(texts) for texts in after]
    assert sum(map(len, before)) - sum(lengths) == status.dropped_messages > 0
    assert max(lengths) == 4  # no more was dropped than was needed
    assert status.keep_messages == 1
    assert status.tier is not Tier.EMERGENCY
    assert "REDIS_EMERGENCY_KEEP_MESSAGES is 1" in caplog.text
    assert [await chat.state() for chat in chats] == [{"a": b"1"}] * len(chats)
    assert (await chats[0].say("{}")).count == 1


async def test_between_the_marks_nothing_is_dropped(link: Link, redis: Redis) -> None:
    parts = parts_of(link, RedisPolicy(keep_messages=KEEP))
    chats = await fill_to(parts, 0.8)
    before = await texts_of(chats)
    await parts.watch.look()
    await parts.pressure.tick()

    assert await texts_of(chats) == before
    assert parts.pressure.counters["redisSweeps"] == 1


async def fill_to(parts: Parts, fraction: float) -> list[Chat]:
    """Fill Redis to a part with messages that make no chunk."""
    chats: list[Chat] = []
    await parts.watch.look()
    while (parts.watch.status.fraction or 0) < fraction:
        chats.append(chat := Chat(parts.store, ref_of(str(len(chats)))))
        await chat.say("0" * (MOST_PACKED_BYTES + 1))
        await parts.watch.look()
    return chats


async def test_it_packs_once_and_again_after_a_while(link: Link, redis: Redis) -> None:
    parts = parts_of(link, RedisPolicy())
    await fill_to(parts, 0.8)
    sweeps = []
    for ahead_seconds in (0, 1, PACK_AGAIN_SECONDS - 1, PACK_AGAIN_SECONDS + 1):
        parts.clock.ahead_seconds = ahead_seconds
        await parts.pressure.tick()
        sweeps.append(parts.pressure.counters["redisSweeps"])

    assert sweeps == [1, 1, 1, 2]


async def test_it_packs_at_once_when_it_presses_anew(link: Link, redis: Redis) -> None:
    parts = parts_of(link, RedisPolicy())
    chats = await fill_to(parts, 0.8)
    await parts.pressure.tick()
    for chat in chats:
        await chat.delete()
    await parts.watch.look()
    await parts.pressure.tick()
    assert parts.pressure.status.tier is Tier.NORMAL
    await fill_to(parts, 0.8)
    await parts.pressure.tick()

    assert parts.pressure.counters["redisSweeps"] == 2


async def test_it_drops_again_after_a_while(link: Link, redis: Redis) -> None:
    parts = parts_of(link, RedisPolicy(keep_messages=1))
    chats = await fill_to(parts, 0.9)
    rounds = []
    for ahead_seconds in (0, DROP_AGAIN_SECONDS - 1, DROP_AGAIN_SECONDS + 1):
        parts.clock.ahead_seconds = ahead_seconds
        await parts.pressure.tick()
        rounds.append(parts.pressure.counters["redisDroppedMessages"])
        with_more = Chat(parts.store, chats[0].ref)
        await with_more.say("{}")

    assert rounds == [0, 0, 2]


async def test_each_tier_is_said_once(
    link: Link, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    parts = parts_of(link, RedisPolicy(enabled=False))
    with caplog.at_level(logging.INFO, logger="ballast.redis"):
        chats = await fill_to(parts, 0.72)
        await parts.pressure.tick()
        await parts.pressure.tick()
        more = await fill_to(parts, 0.9)
        await parts.pressure.tick()
        await parts.pressure.tick()
        for chat in {*chats, *more}:
            await chat.delete()
        await parts.watch.look()
        await parts.pressure.tick()
        await parts.pressure.tick()

    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "INFO"]
    assert "⚠️ Redis usage high: 7" in caplog.records[0].message
    assert "🚨 Redis usage critical: 9" in caplog.records[1].message
    assert "Redis has room again" in caplog.records[2].message


async def test_where_nobody_looks_it_looks_itself(link: Link, redis: Redis) -> None:
    """With ENABLE_HEALTH_CHECK=false the watch asks nothing."""
    parts = parts_of(link, RedisPolicy())
    await parts.pressure.tick()
    assert parts.watch.status.used_memory_bytes is not None
    assert await calls_seen(redis, parts.pressure.tick()) == []
    parts.clock.ahead_seconds = LATE_SECONDS
    assert await calls_seen(redis, parts.pressure.tick()) == ["INFO"]


async def test_a_sweep_that_redis_breaks_off_is_begun_anew(small_server: Server) -> None:
    flavour = small_server.flavour
    with start_server(flavour, *FULL) as server:
        link = Link(RedisTarget(url=server.url))
        parts = parts_of(link, RedisPolicy())
        await fill_to(parts, 0.8)
        server.kill()
        with pytest.raises(Unavailable):
            await parts.pressure.tick()
        assert parts.pressure.counters["redisSweeps"] == 0
        server.restart()
        await fill_to(parts, 0.8)
        await parts.pressure.tick()
        await link.aclose()

    assert parts.pressure.counters["redisSweeps"] == 1
