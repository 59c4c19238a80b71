"""The sealer: what was written much is packed at once, what is idle a while later."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import pytest
from redis import Redis

from service import packing, sealing
from service.chunks import is_chunk
from service.hot import HotTier
from service.model import Limits, Window
from service.sealing import IDLE_SECONDS, LONG_TAIL, SHORT_TAIL, Sealer
from service.sessions import Sessions
from service.store import Link, RedisTarget
from service.store.keys import session_keys
from tests.polling import eventually
from tests.servers import Server
from tests.store_calls import CHAT, Chat, ref_of
from tests.use_cases import HeldStore, StepClock, shut_out


@dataclass(frozen=True, slots=True)
class Packed:
    """A session through the use cases, and what packs it."""

    chat: Chat
    sealer: Sealer
    hot: HotTier
    clock: StepClock
    store: HeldStore
    redis: Redis

    async def say(self, count: int) -> None:
        for _ in range(count):
            await self.chat.say('{"text":"as is usual here"}')

    def shape(self) -> list[bool]:
        """Tell which elements in Redis are chunks."""
        log = session_keys(CHAT).log.decode()
        return [is_chunk(each) for each in self.redis.lrange(log, 3, -1)]  # type: ignore[arg-type]


@pytest.fixture
async def packed(server: Server) -> AsyncIterator[Packed]:
    link, hot, clock = Link(RedisTarget(url=server.url)), HotTier(1_000_000), StepClock()
    store = HeldStore(link)
    sealer = Sealer(store, hot, clock)
    chat = Chat(Sessions(store, hot, sealer, clock, Limits()))
    with Redis.from_url(server.url) as redis:
        yield Packed(chat, sealer, hot, clock, store, redis)
    await link.aclose()


async def test_a_long_tail_is_sealed_at_once(packed: Packed) -> None:
    await packed.say(LONG_TAIL - 1)
    await packed.sealer.seal_due()
    assert packed.shape() == [False] * (LONG_TAIL - 1)
    await packed.say(1)
    await packed.sealer.seal_due()

    assert packed.shape() == [True]
    assert packed.store.calls["unsealed"] == 0  # memory held it
    held = packed.hot.peek(CHAT)
    assert held is not None
    assert (held.log.tail_count, held.log.count) == (0, LONG_TAIL)
    assert len(await packed.chat.texts()) == LONG_TAIL


async def test_a_short_tail_is_sealed_when_its_session_is_idle(packed: Packed) -> None:
    await packed.say(SHORT_TAIL)
    packed.clock.ahead_seconds = IDLE_SECONDS - 1
    await packed.say(1)  # not idle yet
    packed.clock.ahead_seconds = IDLE_SECONDS + 1
    await packed.sealer.seal_due()
    assert packed.shape() == [False] * (SHORT_TAIL + 1)
    packed.clock.ahead_seconds = 2 * IDLE_SECONDS
    await packed.sealer.seal_due()

    assert packed.shape() == [True]


async def test_a_few_messages_stay_as_they_are(packed: Packed) -> None:
    await packed.say(SHORT_TAIL - 1)
    packed.clock.ahead_seconds = 10 * IDLE_SECONDS
    await packed.sealer.seal_due()

    assert packed.shape() == [False] * (SHORT_TAIL - 1)


async def test_a_chunk_grows_and_is_followed_by_another(packed: Packed) -> None:
    for _ in range(10):
        await packed.say(LONG_TAIL)
        await packed.sealer.seal_due()

    assert packed.shape() == [True] * len(packed.shape())
    assert 3 <= len(packed.shape()) <= 4
    assert len(await packed.chat.texts()) == 10 * LONG_TAIL


async def test_what_memory_does_not_hold_is_read(packed: Packed) -> None:
    await packed.say(LONG_TAIL)
    packed.hot.evict(1 << 30)
    await packed.sealer.seal_due()

    assert packed.shape() == [True]
    assert packed.store.calls["unsealed"] == 1


async def test_what_was_packed_by_another_is_read_anew(packed: Packed) -> None:
    await packed.say(LONG_TAIL)
    clock = StepClock()
    elsewhere = Sealer(packed.store, HotTier(1_000_000), clock)
    done = await packed.chat.say('{"text":"one more"}')
    elsewhere.appended(CHAT, done)
    await elsewhere.seal_due()
    await packed.sealer.seal_due()

    assert packed.shape() == [True]
    assert packed.hot.peek(CHAT) is None
    assert len(await packed.chat.texts()) == LONG_TAIL + 1


async def test_what_is_gone_since_it_was_read_is_not_sealed(packed: Packed) -> None:
    await packed.say(LONG_TAIL)
    packed.store.is_holding = True
    sealing = asyncio.create_task(packed.sealer.seal_stored(CHAT))
    await packed.store.reach(1)
    packed.store.is_holding = False
    await packed.chat.clear()
    packed.store.release()

    assert await sealing == 0
    assert packed.shape() == []


async def test_a_deleted_message_leaves_redis_for_good(packed: Packed) -> None:
    await packed.chat.say('{"a":"q8Zk3vX0"}', *['{"a":"b"}'] * LONG_TAIL)
    await packed.sealer.seal_due()
    log = session_keys(CHAT).log.decode()
    assert b"q8Zk3vX0" in packed.redis.lindex(log, 3)  # type: ignore[operator]
    await packed.chat.delete_one(1)
    await packed.sealer.seal_due()

    assert b"q8Zk3vX0" not in packed.redis.lindex(log, 3)  # type: ignore[operator]
    assert len(await packed.chat.texts()) == LONG_TAIL


async def test_a_session_that_is_gone_is_no_trouble(packed: Packed) -> None:
    await packed.say(LONG_TAIL)
    await packed.chat.delete()
    await packed.sealer.seal_due()

    assert packed.redis.dbsize() == 0


async def test_without_redis_nothing_is_sealed_and_the_next_write_tells_again(
    own_server: Server,
) -> None:
    link, hot, clock = Link(RedisTarget(url=own_server.url)), HotTier(1_000_000), StepClock()
    store = HeldStore(link)
    sealer = Sealer(store, hot, clock)
    chat = Chat(Sessions(store, hot, sealer, clock, Limits()))
    await chat.say(*['{"a":"b"}'] * LONG_TAIL)
    await sealer.seal_due()
    await chat.delete_one(1)
    done = await chat.say(*['{"a":"b"}'] * LONG_TAIL)
    shut_out(own_server)
    await sealer.seal_due()
    sealer.appended(CHAT, done)
    hot.evict(1 << 30)
    await sealer.seal_due()

    assert not sealer._long
    await link.aclose()


async def test_of_too_many_that_wait_the_first_are_forgotten(
    packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "MOST_WAITING", 2)
    for name in "abc":
        chat = Chat(packed.chat.tier, ref_of(name))
        await chat.say(*['{"text":"as is usual here"}'] * SHORT_TAIL)

    assert list(packed.sealer._idle) == [ref_of("b"), ref_of("c")]


async def test_reads_go_on_while_chunks_are_made(packed: Packed) -> None:
    texts = [f'{{"n":{number}}}' for number in range(3 * LONG_TAIL)]
    for text in texts:
        await packed.chat.say(text)
        await packed.sealer.seal_due()
        page = await packed.chat.page(Window(limit=5))
        assert page.messages[-1].data.decode() == text

    assert await packed.chat.texts() == texts


async def test_a_tail_that_memory_cannot_hold_is_sealed_all_the_same(packed: Packed) -> None:
    await packed.chat.say(*(f'{{"n":{number},"t":"{"x" * 1_000}"}}' for number in range(400)))
    await packed.sealer.seal_due()

    assert all(packed.shape())
    assert len(await packed.chat.texts()) == 400


async def test_what_gets_no_shorter_is_not_tried_again_with_every_write(
    packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LEAST_GAIN", 1_000_000)
    for _ in range(LONG_TAIL + 10):
        await packed.say(1)
        await packed.sealer.seal_due()

    assert packed.shape() == [False] * (LONG_TAIL + 10)
    assert packed.sealer._in_vain == {CHAT: LONG_TAIL}
    assert not packed.sealer._long


async def test_what_was_deleted_during_an_outage_leaves_when_redis_is_back(
    own_server: Server,
) -> None:
    link, hot, clock = Link(RedisTarget(url=own_server.url)), HotTier(1_000_000), StepClock()
    sealer = Sealer(HeldStore(link), hot, clock)
    chat = Chat(Sessions(HeldStore(link), hot, sealer, clock, Limits()))
    await chat.say('{"a":"q8Zk3vX0"}', *['{"a":"b"}'] * LONG_TAIL)
    await sealer.seal_due()
    await chat.delete_one(1)
    own_server.pause()
    await sealer.seal_due()
    own_server.resume()
    await eventually(partial(_sealed_anew, sealer), lambda left: not left)

    with Redis.from_url(own_server.url) as redis:
        assert b"q8Zk3vX0" not in redis.lindex(session_keys(CHAT).log.decode(), 3)
    await link.aclose()


async def _sealed_anew(sealer: Sealer) -> int:
    await sealer.seal_due()
    return len(sealer._narrowed)


async def test_what_cannot_be_packed_is_counted_and_ends_nothing(
    packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(before: object, tail: object) -> None:
        raise ValueError

    monkeypatch.setattr(sealing, "pack_next", fail)
    await packed.say(LONG_TAIL)
    await packed.sealer.seal_due()

    assert packed.sealer.failures == 1
    assert packed.shape() == [False] * LONG_TAIL


async def test_memory_follows_a_sealing_though_more_was_said_meanwhile(packed: Packed) -> None:
    await packed.say(LONG_TAIL)
    packed.store.is_holding = True
    due = asyncio.create_task(packed.sealer.seal_due())
    await packed.store.reach(1)
    packed.store.is_holding = False
    await packed.say(3)
    packed.store.release()
    await due

    held = packed.hot.peek(CHAT)
    assert held is not None
    assert (held.log.tail_count, held.log.count) == (3, LONG_TAIL + 3)
    assert packed.shape() == [True, False, False, False]
    assert len(await packed.chat.texts()) == LONG_TAIL + 3


async def test_what_was_deleted_meanwhile_is_not_brought_back_by_a_sealing(packed: Packed) -> None:
    await packed.say(LONG_TAIL)
    packed.store.is_holding = True
    due = asyncio.create_task(packed.sealer.seal_due())
    await packed.store.reach(1)
    packed.store.is_holding = False
    await packed.chat.delete_one(5)
    assert len(await packed.chat.texts()) == LONG_TAIL - 1
    packed.store.release()
    await due

    assert len(await packed.chat.texts()) == LONG_TAIL - 1
