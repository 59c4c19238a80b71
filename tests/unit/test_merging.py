"""Merges into state values: pure, then over a Redis that others write to as well."""

import asyncio
import json
from collections.abc import Mapping

import pytest
from redis import Redis

from service.errors import (
    BadInput,
    Fault,
    PreconditionFailed,
    ServiceError,
    TooLarge,
    Unavailable,
    Unprocessable,
)
from service.holds import Uncounted
from service.hot import HotTier
from service.merging import merged_values
from service.model import ANY, Conditions, Limits, SessionRef, StateKey, StoredValue, Value
from service.sealing import Sealer
from service.sessions import MERGE_TRIES, Sessions
from service.store.keys import session_keys
from service.writes import StateWrite, Written
from tests.servers import Server
from tests.store_calls import UNCONDITIONAL, Chat, keyed, matching, not_matching, writing
from tests.use_cases import LIMITS, REF, HeldStore, Parts, StepClock, build

KEY = StateKey("a/~b")
RAW = Value(b"\x00", "image/png", is_json=False)
LARGE = Value(b'{"y":"' + b"x" * (LIMITS.max_value_bytes - 8) + b'"}')
TWICE = b'{"x":1,"x":2}'


def stored(data: bytes, media_type: str = "application/json") -> StoredValue:
    return StoredValue(Value(data, media_type), 7, 99)


async def test_a_merge_keeps_tag_time_and_type_of_what_it_was_made_of() -> None:
    merged = await merged_values(
        {KEY: b'{"x":2}'},
        {KEY: stored(b'{"y":1.0}', "t/x+json")},
        Limits(),
        Uncounted(),
        asyncio.Semaphore(2),
    )

    assert merged == {KEY: stored(b'{"y":1.0,"x":2}', "t/x+json")}


@pytest.mark.parametrize("bases", [{}, {KEY: None}])
async def test_a_merge_into_nothing_has_no_tag(bases: Mapping[StateKey, None]) -> None:
    merged = await merged_values(
        {KEY: b'{"x":1,"y":null}'}, bases, Limits(), Uncounted(), asyncio.Semaphore(2)
    )

    assert merged == {KEY: StoredValue(Value(b'{"x":1}'), 0)}


async def test_a_value_that_is_no_object_is_replaced() -> None:
    assert await merged_values(
        {KEY: b'{"x":1}'}, {KEY: stored(b"[1]")}, Limits(), Uncounted(), asyncio.Semaphore(2)
    ) == {KEY: stored(b'{"x":1}')}


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        (StoredValue(RAW, 7), "the value is not JSON"),
        (stored(TWICE), "the value names a member twice"),
    ],
)
async def test_what_cannot_be_kept_is_not_merged_into(base: StoredValue, reason: str) -> None:
    with pytest.raises(Unprocessable) as failure:
        await merged_values(
            {KEY: b'{"x":1}'}, {KEY: base}, Limits(), Uncounted(), asyncio.Semaphore(2)
        )

    assert failure.value.code == "not_mergeable"
    assert failure.value.faults == (Fault("/merge/a~1~0b", reason),)


async def test_others_go_on_while_much_is_merged() -> None:
    deep = b'{"a":' * 60 + b"[" + b"[]," * 300_000 + b"1]" + b"}" * 60
    patch = b'{"a":' * 60 + b'{"b":1}' + b"}" * 60
    merging = asyncio.create_task(
        merged_values(
            {KEY: patch}, {KEY: stored(deep)}, Limits(), Uncounted(), asyncio.Semaphore(2)
        )
    )
    turns = 0
    while not merging.done():
        await asyncio.sleep(0.001)
        turns += 1

    assert b'{"b":1}' in (await merging)[KEY].value.data
    assert turns > 10


@pytest.mark.parametrize(("limit", "is_refused"), [(13, False), (12, True)])
async def test_a_merged_value_is_bounded_as_any_value_is(*, limit: int, is_refused: bool) -> None:
    patches, bases = {KEY: b'{"x":1}'}, {KEY: stored(b'{"y":2}')}
    limits = Limits(max_value_bytes=limit)
    if not is_refused:
        merged = await merged_values(patches, bases, limits, Uncounted(), asyncio.Semaphore(2))
        assert merged[KEY].value.data == b'{"y":2,"x":1}'
        return
    with pytest.raises(TooLarge) as failure:
        await merged_values(patches, bases, limits, Uncounted(), asyncio.Semaphore(2))
    assert failure.value.limit == limit
    assert failure.value.faults == (Fault("/merge/a~1~0b", "would be 13 bytes"),)


# Over a real Redis


async def calls_of(parts: Parts, chat: Chat, key: str, patch: bytes) -> int:
    parts.store.calls.clear()
    await chat.write(merges={key: patch})
    return parts.store.calls["write_state"]


async def test_a_merge_into_what_memory_holds_is_one_call(parts: Parts) -> None:
    await parts.chat.write({"a": b'{"x":1}'})

    assert await calls_of(parts, parts.chat, "a", b'{"y":2}') == 1
    assert await calls_of(parts, parts.chat, "a", b'{"z":3}') == 1
    assert await calls_of(parts, parts.chat, "new", b'{"z":3}') == 1
    assert await parts.chat.state() == {"a": b'{"x":1,"y":2,"z":3}', "new": b'{"z":3}'}


async def test_a_merge_into_what_memory_does_not_hold_is_two(parts: Parts) -> None:
    await parts.elsewhere.write({"a": b'{"x":1}'})

    assert await calls_of(parts, parts.chat, "a", b'{"y":2}') == 2
    assert await parts.chat.state() == {"a": b'{"x":1,"y":2}'}


async def test_a_merge_into_nothing_is_one_call_though_memory_knows_nothing(parts: Parts) -> None:
    assert await calls_of(parts, parts.chat, "a", b'{"x":1}') == 1
    await parts.elsewhere.say("1")
    assert await calls_of(parts, parts.elsewhere, "b", b'{"x":1}') == 1

    assert await parts.chat.state() == {"a": b'{"x":1}', "b": b'{"x":1}'}


@pytest.mark.parametrize("value", [b'{"y":2}', b'{"x":1}', b"[]", RAW, None])
async def test_a_merge_is_into_what_redis_has_whatever_memory_holds(
    parts: Parts, value: bytes | Value | None
) -> None:
    await parts.chat.write({"a": b'{"x":1}', "other": b"1"})
    if value is None:
        await parts.elsewhere.write(deletes=["a"])
    else:
        await parts.elsewhere.write({"a": value})
    if value is RAW:
        with pytest.raises(Unprocessable) as failure:
            await parts.chat.write(merges={"a": b'{"z":3}'})
        assert failure.value.faults[0].pointer == "/merge/a"
        assert (await parts.elsewhere.state())["a"] == RAW.data
        return
    assert await calls_of(parts, parts.chat, "a", b'{"z":3}') == 2
    merged = b'{"z":3}'
    if isinstance(value, bytes) and value != b"[]":
        merged = value.replace(b"}", b',"z":3}')
    assert (await parts.chat.state())["a"] == merged


@pytest.mark.parametrize("held", [RAW, Value(TWICE), LARGE])
async def test_what_memory_alone_holds_refuses_nothing(parts: Parts, held: Value) -> None:
    await parts.chat.write({"a": held, "b": b"{}"})
    await parts.elsewhere.write({"a": b'{"y":1}'})
    await parts.chat.write(merges={"a": b'{"z":[1,2,3]}', "b": b'{"z":1}'})

    assert await parts.chat.state() == {"a": b'{"y":1,"z":[1,2,3]}', "b": b'{"z":1}'}


@pytest.mark.parametrize("held", [RAW, Value(TWICE), LARGE])
async def test_what_redis_holds_refuses_and_nothing_is_done(parts: Parts, held: Value) -> None:
    before = await parts.chat.write({"a": held, "b": b"{}"})
    for chat in (parts.chat, parts.elsewhere):
        with pytest.raises((Unprocessable, TooLarge)):
            await chat.write(
                {"set": b"1"}, merges={"a": b'{"z":[1,2,3]}', "b": b'{"z":1}'}, deletes=["c"]
            )

    assert (await parts.chat.view()).session == before.session


async def test_a_patch_that_is_wrong_is_refused_whatever_is_there(parts: Parts) -> None:
    with pytest.raises(BadInput):
        await parts.chat.write(merges={"a": TWICE})
    assert await parts.chat.is_absent()


async def test_a_batch_sets_then_merges_then_deletes_then_gets(parts: Parts) -> None:
    await parts.chat.write({"m": b'{"x":1}', "gone": b"1"})
    done = await parts.chat.write(
        {"s": b"1"}, merges={"m": b'{"y":2}'}, deletes=["gone"], gets=["s", "m", "gone"]
    )

    got = {key: value and value.value.data for key, value in done.values.items()}
    assert got == {"s": b"1", "m": b'{"x":1,"y":2}', "gone": None}
    assert (done.added, done.deleted, done.session.etag.rev) == (1, 1, 2)
    tags = {value.tag for value in done.values.values() if value}
    assert tags == {done.tag}


async def test_a_merge_keeps_the_expiry_of_its_key_and_a_set_in_the_same_call_has_its_own(
    parts: Parts,
) -> None:
    first = await parts.chat.write({"m": b"{}"}, key_ttl_ms=60_000)
    for chat in (parts.chat, parts.elsewhere):
        done = await chat.write(
            {"s": b"1"}, merges={"m": b'{"y":2}'}, key_ttl_ms=5_000, gets=["m", "s"]
        )
        ends = {key: value and value.expires_at_ms for key, value in done.values.items()}
        assert ends == {"m": first.now_ms + 60_000, "s": done.now_ms + 5_000}


async def test_a_merge_into_what_has_expired_meanwhile_is_one_into_nothing(
    parts: Parts, server: Server
) -> None:
    await parts.chat.write({"a": b'{"x":1}', "b": b'{"x":1}'}, key_ttl_ms=60_000)
    with Redis.from_url(server.url) as redis:
        redis.zadd(session_keys(REF).expiries.decode(), {"a": 1})
    done = await parts.chat.write(merges={"a": b'{"y":2}'}, gets=["a"])

    value = done.values[StateKey("a")]
    assert value is not None
    assert (value.value.data, value.expires_at_ms) == (b'{"y":2}', None)
    assert (done.added, done.session.state_key_count) == (1, 2)


async def test_a_condition_is_judged_before_a_merge(parts: Parts) -> None:
    done = await parts.chat.write({"a": RAW})
    for guard in (matching("other-1"), not_matching(ANY)):
        with pytest.raises(PreconditionFailed):
            await parts.elsewhere.write(merges={"a": b'{"x":1}'}, conditions=guard)

    assert (await parts.chat.view()).session == done.session


async def test_a_repeated_merge_is_not_made_twice(parts: Parts) -> None:
    await parts.elsewhere.write({"a": b'{"x":1}'})
    first = await parts.chat.write(merges={"a": b'{"y":2}'}, idempotency=keyed())
    await parts.elsewhere.write({"a": RAW})
    again = await parts.chat.write(merges={"a": b'{"y":2}'}, gets=["a"], idempotency=keyed())

    assert again.replayed_rev == first.session.etag.rev
    assert (again.changed, again.added) == (False, first.added)
    assert (await parts.chat.view()).values[StateKey("a")] == again.values[StateKey("a")]


async def test_merges_of_two_processes_lose_nothing(parts: Parts, server: Server) -> None:
    other, link = build(server.url)
    await parts.chat.write({"a": b"{}"})

    async def merge(chat: Chat, name: str) -> None:
        # What a client does about a 503 that says that nothing was applied.
        while True:
            try:
                await chat.write(merges={"a": b'{"%b":1}' % name.encode()})
            except Unavailable:
                continue
            return

    names = [f"n{number}" for number in range(40)]
    chats = (parts.chat, other.chat)
    await asyncio.gather(*(merge(chats[i % 2], name) for i, name in enumerate(names)))
    await link.aclose()

    assert json.loads((await parts.chat.state())["a"]) == dict.fromkeys(names, 1)
    assert (await parts.chat.view()).session.etag.rev == 1 + len(names)


async def test_merges_of_one_process_wait_for_each_other(parts: Parts) -> None:
    await parts.elsewhere.write({"a": b"{}"})
    parts.store.calls.clear()
    patches = [b'{"n%d":1}' % number for number in range(20)]
    await asyncio.gather(*(parts.chat.write(merges={"a": patch}) for patch in patches))

    # The first finds nothing in memory; where memory does not follow, neither do the others.
    assert parts.store.calls["write_state"] <= 2 * len(patches)
    assert len(json.loads((await parts.chat.state())["a"])) == len(patches)
    assert not parts.sessions._merging._lines


class RestlessStore(HeldStore):
    """The real store, and another process that is always faster."""

    async def write_state(
        self,
        ref: SessionRef,
        write: StateWrite,
        conditions: Conditions,
        merged: Mapping[StateKey, StoredValue] | None = None,
    ) -> Written | None:
        await super().write_state(ref, writing({"a": b"{}"}), UNCONDITIONAL)
        return await super().write_state(ref, write, conditions, merged)


async def test_values_that_change_faster_than_they_can_be_merged_are_told_of(
    parts: Parts,
) -> None:
    store = RestlessStore(parts.store._link)
    hot, clock = HotTier(1_000_000), StepClock()
    sessions = Sessions(store, hot, Sealer(store, hot, clock), clock, Limits())
    with pytest.raises(Unavailable) as failure:
        await Chat(sessions).write(merges={"a": b'{"x":1}'})

    assert isinstance(failure.value, ServiceError)
    assert store.calls["write_state"] == 2 * MERGE_TRIES
    assert await parts.chat.state() == {"a": b"{}"}
