"""Packed state values: what Redis has is short, what limits mean is what was sent."""

from collections.abc import Coroutine
from typing import Any

import pytest
from redis import Redis

from scripts.benchmark.corpus import login
from service.codec import pack_number, pack_value
from service.errors import TooLarge
from service.model import Limits, Reading, StateKey, StatePart, StoredValue, Value, View
from service.store import RedisStore
from service.store.keys import session_keys
from service.writes import Moved, Written
from tests.servers import Server
from tests.store_calls import UNCONDITIONAL, Chat, keyed, open_store, ref_of, writing

LIMITS = Limits(max_answer_bytes=1_000, max_value_bytes=500)
DENSE = b"x" * 325
"""Three fit into an answer, with what stands in front of them; as Redis has them 30 would."""


def stored_of(redis: Redis, chat: Chat) -> dict[bytes, bytes]:
    _, state, _ = session_keys(chat.ref)
    stored: dict[bytes, bytes] = redis.hgetall(state)  # type: ignore[assignment] # not decoded
    return stored


def some(keys: str) -> Reading:
    return Reading(state=StatePart.SOME, keys=tuple(map(StateKey, keys)))


def calls_that_get(chat: Chat, keys: str) -> list[Coroutine[Any, Any, View | Written]]:
    """Reads, and writes that get as many values as there are keys, all as long as DENSE."""
    return [
        chat.view(some(keys)),
        chat.view(Reading(state=StatePart.ALL)),
        chat.write({"a": b"x" + DENSE[1:]}, gets=keys),
        chat.write(deletes=["none"], gets=keys, idempotency=keyed("k")),
        chat.write({"new": DENSE}, gets=[*keys[1:], "new"]),
    ]


async def test_an_answer_holds_what_was_sent(server: Server) -> None:
    async with open_store(server.url, LIMITS) as store:
        chat = Chat(store)
        await chat.write(dict.fromkeys("abc", DENSE))
        for call in calls_that_get(chat, "abc"):
            got = (await call).values.values()
            assert [stored and stored.value.data for stored in got] == [DENSE] * 3


@pytest.mark.parametrize("keys", ["abcd", "abcdefghij"])
async def test_an_answer_is_judged_by_what_was_sent(
    server: Server, redis: Redis, keys: str
) -> None:
    async with open_store(server.url, LIMITS) as store:
        chat = Chat(store)
        await chat.write(dict.fromkeys(keys, DENSE))
        before = stored_of(redis, chat)
        assert sum(map(len, before.values())) < 300
        for call in calls_that_get(chat, keys):
            with pytest.raises(TooLarge):
                await call

        assert stored_of(redis, chat) == before


async def test_what_a_call_answers_again_is_judged_anew(server: Server) -> None:
    async with open_store(server.url, LIMITS) as store:
        chat = Chat(store)

        async def call() -> object:
            return (await chat.write({"a": b"1"}, gets="abcd", idempotency=keyed("k"))).values

        await call()
        await chat.write({"b": DENSE, "c": DENSE})
        assert await call() == (await chat.view(some("abcd"))).values
        await chat.write({"a": DENSE, "d": DENSE})
        with pytest.raises(TooLarge) as failure:
            await call()
        assert failure.value.is_replayed


@pytest.mark.parametrize(("keys", "fits"), [("abc", True), ("abcd", False)])
async def test_what_is_merged_into_is_judged_by_what_was_sent(
    server: Server, keys: str, *, fits: bool
) -> None:
    async with open_store(server.url, LIMITS) as store:
        chat = Chat(store)
        await chat.write(dict.fromkeys(keys, DENSE))
        merged = {StateKey(key): StoredValue(Value(b"{}"), 1) for key in keys}
        error = Moved if fits else TooLarge
        with pytest.raises(error):
            await store.write_state(chat.ref, writing(), UNCONDITIONAL, merged)


async def test_a_part_holds_so_much_of_what_was_sent(store: RedisStore) -> None:
    store._reader._part_bytes = 400
    chat = Chat(store)
    values = {key: key.encode() * 330 for key in "abcd"}
    await chat.write(values)

    for reading in (some("abcd"), Reading(state=StatePart.ALL)):
        view = await chat.view(reading)
        assert {key: v.value.data for key, v in view.values.items() if v} == values


async def test_values_of_the_release_before_are_read(store: RedisStore, redis: Redis) -> None:
    chat = Chat(store)
    await chat.write({"new": DENSE})
    _, state, _ = session_keys(chat.ref)
    tag = pack_number(7)
    redis.hset(state, "json", tag + b"\0" + DENSE)
    redis.hset(state, "typed", tag + b"\x01\x03a/b" + DENSE)
    redis.hset(state, "raw", tag + b"\x02\x03a/b" + DENSE)
    view = await chat.view(Reading(state=StatePart.ALL))

    values = {key: stored.value for key, stored in view.values.items() if stored}
    assert values == {
        "new": Value(DENSE),
        "json": Value(DENSE),
        "typed": Value(DENSE, "a/b"),
        "raw": Value(DENSE, "a/b", is_json=False),
    }


async def test_a_copy_has_the_packed_bytes_under_another_tag(
    store: RedisStore, redis: Redis
) -> None:
    chat = Chat(store)
    await chat.write({"a": DENSE, "b": b"1", "c": Value(DENSE, "a/b", is_json=False)})
    await store.create(ref_of("copy"), await chat.snapshot())
    before, after = stored_of(redis, chat), stored_of(redis, Chat(store, ref_of("copy")))

    assert {key: each[6:] for key, each in after.items()} == {
        key: each[6:] for key, each in before.items()
    }
    assert {each[:6] for each in after.values()}.isdisjoint(each[:6] for each in before.values())
    assert len(after[b"a"]) < 50


async def test_a_login_takes_two_thirds_of_its_hash(
    chat: Chat, server: Server, redis: Redis
) -> None:
    most = 0.62 if server.flavour == "redis62" else 0.68  # the other takes the C library's memory
    texts = {key: text.encode() for key, text in login(1).items()}
    await chat.write(texts)
    redis.hset("plain", mapping=texts)  # type: ignore[arg-type] # bytes are fine
    ours, plain = (
        redis.memory_usage(key, samples=0) for key in (session_keys(chat.ref)[1], "plain")
    )

    assert (await chat.view(Reading(state=StatePart.ALL))).values.keys() == texts.keys()
    assert isinstance(ours, int)
    assert isinstance(plain, int)
    assert ours <= most * plain
    raw = {key: pack_value(Value(text), 1, 0) for key, text in texts.items()}
    redis.hset("raw", mapping=raw)  # type: ignore[arg-type] # the same
    as_before = redis.memory_usage("raw", samples=0)
    assert isinstance(as_before, int)
    assert as_before > 0.99 * plain
