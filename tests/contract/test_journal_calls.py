"""Calls of a journal: the last one of each is remembered, and what comes late is not done."""

import pytest
from redis import Redis

from service.batching import KEY_BYTES
from service.errors import Unprocessable
from service.store import RedisStore
from service.writes import Idempotency
from tests.store_calls import Chat, keyed

MOST_CALLS = 16
JOURNAL, OTHER = b"journal-1", b"journal-2"


def numbered(number: int, key: bytes = JOURNAL) -> Idempotency:
    assert len(key) == KEY_BYTES
    return Idempotency(key, b"%d" % number)


async def test_a_call_that_comes_again_is_recognised(chat: Chat) -> None:
    first = await chat.say("1", idempotency=numbered(9))
    again = await chat.say("1", idempotency=numbered(9))

    assert (again.replayed_rev, again.last_seq) == (1, first.last_seq)
    assert await chat.texts() == ["1"]


async def test_the_next_call_of_the_same_journal_is_another_one(chat: Chat) -> None:
    for number in (9, 10, 11):  # as text 10 is less than 9
        done = await chat.say(str(number), idempotency=numbered(number))
        assert done.replayed_rev is None

    assert await chat.texts() == ["9", "10", "11"]


async def test_an_old_call_that_comes_late_is_not_done_again(chat: Chat) -> None:
    for number in (9, 10):
        await chat.say(str(number), idempotency=numbered(number))
    with pytest.raises(Unprocessable):
        await chat.say("9", idempotency=numbered(9))

    assert await chat.texts() == ["9", "10"]


async def test_a_state_write_that_comes_again_keeps_what_was_written_since(
    chat: Chat, store: RedisStore
) -> None:
    await chat.write({"a": b"1"}, idempotency=numbered(1))
    await chat.write({"a": b"2"})
    await chat.write({"a": b"1"}, idempotency=numbered(1))

    assert await chat.state() == {"a": b"2"}


async def test_journals_do_not_displace_what_clients_have_sent_with_keys(chat: Chat) -> None:
    for number in range(MOST_CALLS):
        await chat.say("x", idempotency=keyed(f"{number}"))
    for number in range(2 * MOST_CALLS):
        await chat.say("y", idempotency=numbered(number))

    assert (await chat.say("x", idempotency=keyed("0"))).replayed_rev == 1


async def test_nor_do_clients_displace_journals_nor_these_each_other(chat: Chat) -> None:
    await chat.say("1", idempotency=numbered(5))
    await chat.say("2", idempotency=numbered(3, OTHER))
    for number in range(MOST_CALLS + 1):
        await chat.say("x", idempotency=keyed(f"{number}"))

    assert (await chat.say("1", idempotency=numbered(5))).replayed_rev == 1
    assert (await chat.say("2", idempotency=numbered(3, OTHER))).replayed_rev == 2
    assert (await chat.say("x", idempotency=keyed("0"))).replayed_rev is None


async def test_of_too_many_journals_the_oldest_is_forgotten(chat: Chat) -> None:
    for number in range(MOST_CALLS + 1):
        await chat.say("x", idempotency=numbered(1, b"journal%02d" % number))

    assert (await chat.say("x", idempotency=numbered(1, b"journal01"))).replayed_rev == 2
    assert (await chat.say("x", idempotency=numbered(1, b"journal00"))).replayed_rev is None


async def test_a_journal_takes_one_place_however_much_it_writes(chat: Chat, redis: Redis) -> None:
    await chat.say("x", idempotency=numbered(100))
    log = next(iter(redis.scan_iter()))
    before = len(redis.lindex(log, 2))  # type: ignore[arg-type]
    for number in range(101, 140):
        await chat.say("x", idempotency=numbered(number))

    assert len(redis.lindex(log, 2)) <= before + 2  # type: ignore[arg-type]
