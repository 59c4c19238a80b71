"""What is dropped beyond the newest messages when Redis fills: no more, no use, and told to all."""

import pytest
from redis import Redis

from service import packing
from service.chunks import is_chunk, resealed
from service.packing import pack_next
from service.sealing import _split
from service.store import RedisStore
from service.store.keys import session_keys
from service.writes import Cut, Removal, Removed, SettingsChange
from tests.store_calls import UNCONDITIONAL, Chat, lives

STEP = 2_000


async def drop(chat: Chat, keep: int) -> Removed:
    removal = Removal(cut=Cut.EXCESS, number=keep)
    done = await chat.tier.remove(chat.ref, removal, UNCONDITIONAL)
    assert done is not None
    return done


async def seal(chat: Chat) -> None:
    assert isinstance(chat.tier, RedisStore)
    while True:
        part = await chat.tier.unsealed(chat.ref, 0)
        assert part is not None
        sealing = pack_next(*_split(part.elements))
        if sealing is None:
            return
        assert await chat.tier.seal(chat.ref, part.gen, sealing)


def texts(*numbers: int) -> list[str]:
    return [f'{{"n":{number}}}' for number in numbers]


@pytest.fixture(params=["single", "chunked", "both"])
async def long(chat: Chat, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Chat:
    """Thirty messages, packed or not, and a value."""
    monkeypatch.setattr(packing, "CHUNK_MESSAGES", 8)
    monkeypatch.setattr(packing, "LEAST_GAIN", -1_000)
    await chat.write({"a": b"1"})
    await chat.say(*texts(*range(1, 21)))
    if request.param != "single":
        await seal(chat)
    await chat.say(*texts(*range(21, 31)))
    if request.param == "chunked":
        await seal(chat)
    return chat


@pytest.mark.parametrize("keep", [1, 2, 8, 13, 29])
async def test_the_newest_stay(long: Chat, keep: int) -> None:
    done = await drop(long, keep)

    assert done.count == 30 - keep
    assert done.session.message_count == keep
    assert await long.texts() == texts(*range(31 - keep, 31))
    assert await long.state() == {"a": b"1"}
    assert (done.first_seq, done.last_seq) == (31 - keep, 30)
    assert (await long.say("{}")).last_seq == 31


@pytest.mark.parametrize("keep", [1, 5, 12, 20])
async def test_holes_are_no_messages(long: Chat, keep: int) -> None:
    for seq in (3, 9, 10, 11, 19, 28):
        await long.delete_one(seq)
    held = await long.texts()
    done = await drop(long, keep)

    assert done.count == 24 - keep
    assert await long.texts() == held[-keep:]


@pytest.mark.parametrize("keep", [30, 31, 1_000_000])
async def test_what_is_not_beyond_stays_and_nothing_is_told(long: Chat, keep: int) -> None:
    before = (await long.view()).session
    done = await drop(long, keep)

    assert (done.count, done.changed) == (0, False)
    assert (await long.view()).session == before


async def test_the_revision_tells_of_it_and_nothing_else_does(long: Chat, redis: Redis) -> None:
    await long.change(SettingsChange(ttl_ms=100_000))
    before, ends = (await long.view()).session, lives(redis, long.ref)
    after = (await drop(long, 5)).session

    assert (after.etag.gen, after.etag.rev) == (before.etag.gen, before.etag.rev + 1)
    assert (after.updated_at_ms, after.renewed_at_ms) == (
        before.updated_at_ms,
        before.renewed_at_ms,
    )
    assert all(now <= was for now, was in zip(lives(redis, long.ref), ends, strict=True))


async def test_what_was_dropped_is_known_as_a_duplicate(chat: Chat) -> None:
    """As what max_messages has trimmed: a webhook that comes again is no news."""
    await chat.say_once("1", "2", "3")
    await drop(chat, 1)

    assert (await chat.say_once("1", "2", "4")).count == 1
    assert await chat.texts() == ["3", "4"]


async def test_the_bytes_of_what_was_dropped_leave_a_chunk(chat: Chat, redis: Redis) -> None:
    await chat.say('{"a":"q8Zk3vX0"}', *['{"a":"b"}'] * 40)
    await seal(chat)
    done = await drop(chat, 40)
    assert isinstance(chat.tier, RedisStore)
    assert await chat.tier.seal(chat.ref, done.session.etag.gen, resealed(done.narrowed))

    (chunk,) = redis.lrange(session_keys(chat.ref).log.decode(), 3, -1)
    assert isinstance(chunk, bytes)
    assert is_chunk(chunk)
    assert b"q8Zk3vX0" not in chunk
    assert await chat.texts() == ['{"a":"b"}'] * 40


async def test_one_call_drops_a_bounded_number(chat: Chat) -> None:
    await chat.put(SettingsChange(max_messages=10_000))
    for _ in range(5):
        await chat.say(*["{}"] * 1_000)
    counts = [(await drop(chat, 500)).count for _ in range(4)]

    assert counts == [STEP, STEP, 500, 0]
    assert (await chat.view()).session.message_count == 500


async def test_of_no_session_nothing_is_dropped(chat: Chat) -> None:
    removal = Removal(cut=Cut.EXCESS, number=1)
    assert await chat.tier.remove(chat.ref, removal, UNCONDITIONAL) is None


async def test_what_is_unsealed_is_told_without_a_use(chat: Chat, redis: Redis) -> None:
    """A session whose reads renew it must not live on because the service packs it."""
    assert isinstance(chat.tier, RedisStore)
    assert await chat.tier.unsealed(chat.ref, 0) is None
    await chat.put()
    assert await chat.tier.unsealed(chat.ref, 0) is None
    await chat.say(*texts(*range(1, 10)))
    log = session_keys(chat.ref).log.decode()
    before = redis.dump(log)
    part = await chat.tier.unsealed(chat.ref, 4)

    assert part is not None
    assert (part.newest_seq, part.last_seq, len(part.elements)) == (9, 9, 6)
    assert redis.dump(log) == before
