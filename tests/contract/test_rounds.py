"""Rounds through all sessions: what is packed by them, what is dropped, and what is left alone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from redis import Redis

from service.chunks import is_chunk
from service.clock import SystemClock
from service.errors import Unavailable
from service.hot import HotTier
from service.model import SessionRef, Touch
from service.rounds import Rounds
from service.sealing import Sealer
from service.sessions import Sessions
from service.store import Census, Link, RedisStore, RedisTarget
from service.store.census import PAGE_KEYS
from service.store.keys import lease_key, session_keys
from service.writes import SettingsChange
from tests.clusters import Clustered, client_of
from tests.contract.test_commands import calls_seen
from tests.servers import Server
from tests.store_calls import DEFAULTS, Chat, ref_of
from tests.use_cases import LIMITS

TEXT = '{{"text":"as is usual here","n":{}}}'
FULL = 0.0
"""A mark that every server with a limit is above."""


async def always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process is made of, as far as rounds concern it."""

    rounds: Rounds
    store: RedisStore
    sessions: Sessions
    census: Census


@pytest.fixture
async def parts(server: Server) -> AsyncIterator[Parts]:
    link = Link(RedisTarget(url=server.url))
    yield parts_of(link)
    await link.aclose()


def parts_of(link: Link) -> Parts:
    hot, clock = HotTier(10_000_000), SystemClock()
    store = RedisStore(link, LIMITS, DEFAULTS)
    sealer, census = Sealer(store, hot, clock), Census(link)
    sessions = Sessions(store, hot, sealer, clock, LIMITS)
    return Parts(Rounds(census, store, hot, sealer, clock), store, sessions, census)


@pytest.fixture
def limited(redis: Redis) -> Iterator[Redis]:
    """Give the server a limit, far away, until the end of the test."""
    redis.config_set("maxmemory", "1gb")
    yield redis
    redis.config_set("maxmemory", 0)


async def say(store: RedisStore, name: str, count: int, namespace: str = "default") -> Chat:
    chat = Chat(store, ref_of(name, namespace))
    for first in range(0, count, 500):
        await chat.say(*(TEXT.format(n) for n in range(first, min(count, first + 500))))
    return chat


def shape(redis: Redis, ref: SessionRef) -> list[bool]:
    elements = redis.lrange(session_keys(ref).log.decode(), 3, -1)
    return [is_chunk(each) for each in elements]  # type: ignore[arg-type]


async def found(census: Census) -> list[SessionRef]:
    return [
        each.ref
        for primary in await census.primaries()
        async for page in census.pages(primary)
        for each in page
    ]


async def test_a_census_finds_all_sessions_of_all_namespaces(parts: Parts, redis: Redis) -> None:
    names = [
        (f"chat {n}}}m*[", namespace) for n in range(2 * PAGE_KEYS) for namespace in ("a", "b")
    ]
    for name, namespace in names:
        await Chat(parts.store, ref_of(name, namespace)).put()
    redis.mset({f"foreign:{n}": n for n in range(PAGE_KEYS)})
    redis.set("b:{a:lonely}l", "a lease")

    assert set(await found(parts.census)) == {ref_of(*name) for name in names}


async def test_of_nothing_there_is_an_empty_census(parts: Parts) -> None:
    assert await found(parts.census) == []


async def test_a_session_of_another_release_hides_no_more_than_its_page(
    parts: Parts, redis: Redis
) -> None:
    for n in range(10 * PAGE_KEYS):
        await Chat(parts.store, ref_of(str(n))).put()
    redis.eval(
        "redis.call('LSET', KEYS[1], 0, cmsgpack.pack({99}))",
        1,
        session_keys(ref_of("5")).log.decode(),
    )
    assert 8 * PAGE_KEYS < len(await found(parts.census)) < 10 * PAGE_KEYS


async def test_a_census_of_a_redis_that_is_away_is_none() -> None:
    census = Census(Link(RedisTarget(url=None)))
    with pytest.raises(Unavailable):
        await census._describe([session_keys(ref_of("chat")).log])


async def test_all_history_gets_packed(parts: Parts, redis: Redis) -> None:
    chats = [await say(parts.store, str(n), 40, f"n{n % 3}") for n in range(60)]
    before = [await chat.texts() for chat in chats]
    sessions = [(await chat.view()).session for chat in chats]
    await parts.rounds.pack(always)

    assert parts.rounds.packed_sessions == 60
    assert all(all(shape(redis, chat.ref)) for chat in chats)
    assert [await chat.texts() for chat in chats] == before
    assert [(await chat.view()).session for chat in chats] == sessions


@pytest.mark.parametrize("count", [999, 1_000, 1_001, 2_500])
async def test_a_long_history_is_packed_from_its_beginning(
    parts: Parts, redis: Redis, count: int
) -> None:
    chat = Chat(parts.store)
    await chat.put(SettingsChange(max_messages=10_000))
    await say(parts.store, chat.ref.id, count)
    before = await chat.texts()
    await parts.rounds.pack(always)

    chunks = shape(redis, chat.ref)
    assert all(chunks)
    assert len(chunks) <= count / 100
    assert await chat.texts() == before


async def test_short_histories_are_packed_where_that_helps(parts: Parts, redis: Redis) -> None:
    few, large = Chat(parts.store, ref_of("few")), Chat(parts.store, ref_of("large"))
    await few.say("{}", "{}")
    await large.say('{"text":"' + "as is usual here" * 100 + '"}')
    await parts.rounds.pack(always)

    assert shape(redis, few.ref) == [False, False]
    assert shape(redis, large.ref) == [True]
    assert parts.rounds.packed_sessions == 1


async def test_what_does_not_get_shorter_is_passed(parts: Parts, redis: Redis) -> None:
    noise = [f'"{n:x}"' for n in range(10)]
    chat = Chat(parts.store)
    await chat.say(*noise[:3], '"' + "x" * 300_000 + '"', *[TEXT.format(n) for n in range(40)])
    before = await chat.texts()
    await parts.rounds.pack(always)

    assert shape(redis, chat.ref)[-1]
    assert await chat.texts() == before


async def test_what_is_packed_costs_its_share_of_one_look(parts: Parts, redis: Redis) -> None:
    for n in range(10):
        await say(parts.store, str(n), 40)
    await parts.rounds.pack(always)
    seen = await calls_seen(redis, parts.rounds.pack(always))

    assert seen == ["SCAN", "EVALSHA"]
    assert parts.rounds.packed_sessions == 10


async def test_a_round_is_no_use_of_a_session(parts: Parts, redis: Redis) -> None:
    chat = Chat(parts.store)
    await chat.put(SettingsChange(touch=Touch.ACCESS, ttl_ms=60_000))
    await say(parts.store, chat.ref.id, 40)
    script = """
        local h = cmsgpack.unpack(redis.call('LINDEX', KEYS[1], 0))
        h[6] = h[6] - 5000
        redis.call('LSET', KEYS[1], 0, cmsgpack.pack(h))"""
    log = session_keys(chat.ref).log.decode()
    redis.eval(script, 1, log)
    await parts.rounds.pack(always)

    assert shape(redis, chat.ref) == [True]
    assert redis.pttl(log) <= 55_000


async def test_a_round_ends_when_it_is_not_wanted_any_more(parts: Parts) -> None:
    for n in range(10):
        await say(parts.store, str(n), 40)
    answers = iter([True, True, True, False])

    async def is_wanted() -> bool:
        return next(answers)

    await parts.rounds.pack(is_wanted)
    assert parts.rounds.packed_sessions == 3


async def test_a_chunk_that_cannot_be_read_is_passed(parts: Parts, redis: Redis) -> None:
    chats = [await say(parts.store, str(n), 40) for n in range(3)]
    await parts.rounds.pack(always)
    log = session_keys(chats[1].ref).log.decode()
    chunk = redis.lindex(log, 3)
    assert isinstance(chunk, bytes)
    redis.lset(log, 3, chunk[:-9] + b"x" * 9)  # type: ignore[arg-type]
    for chat in chats:
        await chat.say(*(TEXT.format(n) for n in range(5)))
    await parts.rounds.pack(always)

    assert [len(shape(redis, chat.ref)) for chat in chats] == [1, 6, 1]
    assert parts.rounds._sealer.failures == 1


async def test_what_is_beyond_is_dropped_of_every_session(parts: Parts, limited: Redis) -> None:
    chats = [await say(parts.store, str(n), 10 * n, f"n{n % 3}") for n in range(1, 10)]
    await chats[4].write({"a": b"1"})
    await parts.rounds.pack(always)
    before = [await chat.texts() for chat in chats]
    await parts.rounds.drop(30, FULL, always)

    assert [await chat.texts() for chat in chats] == [texts[-30:] for texts in before]
    assert parts.rounds.dropped_sessions == 6
    assert parts.rounds.dropped_messages == sum(len(texts[:-30]) for texts in before)
    assert await chats[4].state() == {"a": b"1"}


async def test_nothing_is_dropped_of_a_redis_that_is_not_that_full(
    parts: Parts, limited: Redis
) -> None:
    chat = await say(parts.store, "chat", 40)
    await parts.rounds.drop(30, 0.7, always)
    assert len(await chat.texts()) == 40


async def test_nothing_is_dropped_of_a_redis_without_a_limit(parts: Parts) -> None:
    chat = await say(parts.store, "chat", 40)
    await parts.rounds.drop(30, FULL, always)
    assert len(await chat.texts()) == 40


async def test_a_lease_keeps_nothing(parts: Parts, limited: Redis) -> None:
    chat = await say(parts.store, "chat", 40)
    limited.set(lease_key(chat.ref), "token")
    await parts.rounds.drop(30, FULL, always)
    assert len(await chat.texts()) == 30


async def test_no_more_is_dropped_than_is_needed(parts: Parts, redis: Redis) -> None:
    chats = [await say(parts.store, str(n), 1_000) for n in range(30)]
    used = redis.info("memory")["used_memory"]
    redis.config_set("maxmemory", used)
    until = 0.9
    try:
        await parts.rounds.drop(10, until, always)
        left = redis.info("memory")["used_memory"]
    finally:
        redis.config_set("maxmemory", 0)

    counts = [len(await chat.texts()) for chat in chats]
    assert set(counts) == {10, 1_000}
    # Redis uses a little more or less from one look to the next.
    assert 0.8 * used < left < 0.95 * used


async def test_a_history_of_any_length_is_dropped_step_by_step(
    parts: Parts, limited: Redis
) -> None:
    chat = Chat(parts.store)
    await chat.put(SettingsChange(max_messages=10_000))
    await say(parts.store, chat.ref.id, 7_000)
    before = await chat.texts()
    await parts.rounds.drop(10, FULL, always)

    assert await chat.texts() == before[-10:]
    assert (parts.rounds.dropped_sessions, parts.rounds.dropped_messages) == (1, 6_990)


async def test_the_bytes_of_what_was_dropped_leave_redis(parts: Parts, limited: Redis) -> None:
    chat = Chat(parts.store)
    await chat.say('{"a":"q8Zk3vX0"}', *['{"a":"b"}'] * 40)
    await parts.rounds.pack(always)
    log = session_keys(chat.ref).log.decode()
    assert b"q8Zk3vX0" in limited.lindex(log, 3)  # type: ignore[operator]
    await parts.rounds.drop(40, FULL, always)

    assert b"q8Zk3vX0" not in limited.lindex(log, 3)  # type: ignore[operator]
    assert shape(limited, chat.ref) == [True]
    assert await chat.texts() == ['{"a":"b"}'] * 40


async def test_memory_does_not_go_on_serving_what_was_dropped(
    parts: Parts, server: Server, limited: Redis
) -> None:
    link = Link(RedisTarget(url=server.url))
    other = parts_of(link)
    mine, theirs = Chat(parts.sessions), Chat(other.sessions)
    await mine.say(*(TEXT.format(n) for n in range(40)))
    before = await mine.texts()
    assert await theirs.texts() == before
    await parts.rounds.drop(30, FULL, always)

    assert await mine.texts() == before[-30:]
    assert await theirs.texts() == before[-30:]
    await link.aclose()


async def test_a_session_that_goes_meanwhile_is_no_trouble(parts: Parts, limited: Redis) -> None:
    chat = await say(parts.store, "chat", 40)

    async def is_wanted() -> bool:
        await chat.delete()
        return True

    await parts.rounds.drop(30, FULL, is_wanted)
    assert parts.rounds.dropped_messages == 0
    assert await chat.is_absent()


async def test_a_round_rests_as_long_as_it_works(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(20):
        await say(parts.store, str(n), 40)
    rests: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        rests.append(seconds)
        await sleep(0)

    monkeypatch.setattr("service.rounds.asyncio.sleep", note)
    began = asyncio.get_running_loop().time()
    await parts.rounds.pack(always)
    took = asyncio.get_running_loop().time() - began

    assert len(rests) > 20
    assert sum(rests) > 0.7 * took


async def test_each_primary_of_a_cluster_has_its_round(cluster: Clustered) -> None:
    link = Link(RedisTarget(url=cluster.url))
    parts = parts_of(link)
    chats = [await say(parts.store, str(n), 40) for n in range(12)]
    full = cluster.primaries[0]
    with client_of(full) as redis:
        redis.config_set("maxmemory", "1gb")
    try:
        await parts.rounds.pack(always)
        assert parts.rounds.packed_sessions == 12
        await parts.rounds.drop(30, FULL, always)
    finally:
        with client_of(full) as redis:
            redis.config_set("maxmemory", 0)

    for chat in chats:
        is_there = cluster.owner(session_keys(chat.ref).log) is full
        assert len(await chat.texts()) == (30 if is_there else 40)
    assert 0 < parts.rounds.dropped_sessions < 12
    await link.aclose()
