"""Idempotency-Key: a repetition is answered as the first run was, and does nothing."""

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from redis import Redis

from service.errors import (
    Conflict,
    Locked,
    PreconditionFailed,
    TooLarge,
    Unprocessable,
)
from service.model import ANY, Conditions, Limits, Reading, StateKey, StoredValue, Value
from service.store import LeaseStore, RedisStore
from service.store.keys import session_keys
from service.store.replies import MOST_REMEMBERED_BYTES
from service.writes import Cut, Idempotency, Removal
from tests.servers import Server
from tests.store_calls import (
    CHAT,
    UNCONDITIONAL,
    Chat,
    holding,
    keyed,
    matching,
    not_matching,
    open_store,
    tag_of,
    writing,
)

Call = Callable[[Chat, Conditions, Idempotency], Coroutine[Any, Any, Any]]


async def say_once(chat: Chat, conditions: Conditions, key: Idempotency) -> object:
    return await chat.say("x", conditions=conditions, idempotency=key)


async def write(chat: Chat, conditions: Conditions, key: Idempotency) -> object:
    parts = writing({"a": b"1", "new": b"2"}, deletes=["b"], gets=["a", "b"], idempotency=key)
    return await chat.tier.write_state(chat.ref, parts, conditions)


async def pop(chat: Chat, conditions: Conditions, key: Idempotency) -> object:
    removal = Removal(cut=Cut.LAST, number=2, idempotency=key)
    return await chat.tier.remove(chat.ref, removal, conditions)


CALLS: dict[str, Call] = {"append": say_once, "write": write, "pop": pop}
OUTCOMES = {
    "append": ("count", "first_seq", "last_seq", "duplicates"),
    "write": ("added", "deleted", "values"),
    "pop": ("count", "messages"),
}
MOST_CALLS = 16


@pytest.fixture(params=CALLS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def fill(chat: Chat) -> None:
    await chat.say("1", "2", "\u00e9")
    await chat.write({"a": b"0", "b": b"0"})


def everything(redis: Redis) -> dict[object, object]:
    return {key: redis.dump(key) for key in redis.scan_iter()}


def age_calls_by(redis: Redis, chat: Chat, minutes: int) -> None:
    """Make the keyed calls that a session remembers look so much older."""
    log = session_keys(chat.ref).log.decode()
    calls = msgspec.msgpack.decode(redis.lindex(log, 2))  # type: ignore[arg-type]
    for call in calls:
        call[2] -= minutes
    redis.lset(log, 2, msgspec.msgpack.encode(calls))  # type: ignore[arg-type]


async def test_a_repetition_is_told_what_the_first_run_did(
    chat: Chat, redis: Redis, name: str
) -> None:
    await fill(chat)
    first = await CALLS[name](chat, UNCONDITIONAL, keyed())
    held = await chat.texts(), await chat.state()
    again = await CALLS[name](chat, UNCONDITIONAL, keyed())

    assert first.changed
    assert first.replayed_rev is None
    assert not again.changed
    assert again.replayed_rev == first.session.etag.rev
    assert again.etag == first.etag
    assert all(getattr(again, field) == getattr(first, field) for field in OUTCOMES[name])
    assert (await chat.texts(), await chat.state()) == held


async def test_a_repetition_after_other_writes_tells_the_revision_of_the_first_run(
    chat: Chat, name: str
) -> None:
    await fill(chat)
    first = await CALLS[name](chat, UNCONDITIONAL, keyed())
    await chat.say("later")
    later = await chat.write({"later": b"1"})
    again = await CALLS[name](chat, UNCONDITIONAL, keyed())

    assert again.etag == first.etag
    assert again.session.etag == later.session.etag
    assert (await chat.view()).session.etag == later.session.etag


async def test_a_repetition_changes_no_byte(chat: Chat, redis: Redis, name: str) -> None:
    await fill(chat)
    await CALLS[name](chat, UNCONDITIONAL, keyed())
    before = everything(redis)
    await CALLS[name](chat, UNCONDITIONAL, keyed())

    assert everything(redis) == before


async def test_another_call_with_the_key_is_refused(chat: Chat, redis: Redis) -> None:
    await fill(chat)
    await chat.say("x", idempotency=keyed(fingerprint="append"))
    before = everything(redis)
    for call in CALLS.values():
        with pytest.raises(Unprocessable) as failure:
            await call(chat, matching("none-1"), keyed(fingerprint="other"))
        assert failure.value.code == "idempotency_key_reused"

    assert everything(redis) == before
    assert (await chat.say("x", idempotency=keyed("other key", "other"))).count == 1


async def test_a_repetition_is_looked_up_before_the_conditions(chat: Chat, name: str) -> None:
    await fill(chat)
    now = matching(tag_of((await chat.view()).session))
    first = await CALLS[name](chat, now, keyed())

    assert (await CALLS[name](chat, now, keyed())).etag == first.etag
    with pytest.raises(PreconditionFailed):
        await CALLS[name](chat, now, keyed("other key"))


async def test_a_repetition_is_looked_up_before_the_lease(
    chat: Chat, redis: Redis, store: RedisStore, name: str
) -> None:
    await fill(chat)
    await LeaseStore(store._link).acquire(CHAT, "token", 60_000)
    first = await CALLS[name](chat, holding("token"), keyed())
    await LeaseStore(store._link).release(CHAT, "token")

    assert (await CALLS[name](chat, holding("token"), keyed())).etag == first.etag
    with pytest.raises(Locked):
        await CALLS[name](chat, holding("token"), keyed("other key"))


async def test_a_refused_lease_is_not_remembered(chat: Chat, store: RedisStore, name: str) -> None:
    await fill(chat)
    with pytest.raises(Locked) as failure:
        await CALLS[name](chat, holding("token"), keyed())
    await LeaseStore(store._link).acquire(CHAT, "token", 60_000)

    assert not failure.value.is_replayed
    assert (await CALLS[name](chat, holding("token"), keyed())).replayed_rev is None


async def test_a_failed_condition_is_remembered(chat: Chat, name: str) -> None:
    await fill(chat)
    etag = str((await chat.view()).session.etag)
    with pytest.raises(PreconditionFailed) as first:
        await CALLS[name](chat, not_matching(ANY), keyed())
    await chat.say("later")
    with pytest.raises(PreconditionFailed) as again:
        await CALLS[name](chat, not_matching(ANY), keyed())

    assert not first.value.is_replayed
    assert again.value.is_replayed
    assert again.value.etag == first.value.etag == etag
    with pytest.raises(Unprocessable):
        await CALLS[name](chat, not_matching(ANY), keyed(fingerprint="other"))


async def test_a_failed_condition_leaves_the_session_as_it_was(chat: Chat) -> None:
    before = (await chat.say("x")).session
    with pytest.raises(PreconditionFailed):
        await chat.say("y", conditions=not_matching(ANY), idempotency=keyed())

    assert (await chat.view()).session == before


async def test_too_large_an_answer_is_remembered(server: Server) -> None:
    async with open_store(server.url, Limits(max_answer_bytes=1_000)) as store:
        chat = Chat(store)
        await chat.write({"a": b"x" * 600, "b": b"x" * 600})
        await chat.say("x" * 20_000)
        calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "write": lambda: chat.write({"c": b"1"}, gets=["a", "b"], idempotency=keyed("write")),
            "pop": lambda: chat.pop(1, idempotency=keyed("pop")),
        }
        limits = {}
        for name, call in calls.items():
            with pytest.raises(TooLarge) as failure:
                await call()
            assert not failure.value.is_replayed
            limits[name] = failure.value.limit
        await chat.write(deletes=["a"])
        before = await chat.clear()
        for name, call in calls.items():
            with pytest.raises(TooLarge) as failure:
                await call()
            assert failure.value.is_replayed
            assert failure.value.limit == limits[name]

        assert (await chat.view(Reading())).session == before.session
        assert limits == {"write": 1_000, "pop": MOST_REMEMBERED_BYTES}


async def test_merging_into_too_much_is_remembered(server: Server) -> None:
    merged = {StateKey(key): StoredValue(Value(b"{}"), 0) for key in "ab"}
    async with open_store(server.url, Limits(max_answer_bytes=1_000)) as store:
        await Chat(store).write({"a": b"x" * 600, "b": b"x" * 600})
        for is_replayed in (False, True):
            with pytest.raises(TooLarge) as failure:
                await store.write_state(CHAT, writing(idempotency=keyed()), UNCONDITIONAL, merged)
            assert failure.value.is_replayed == is_replayed


async def test_a_call_of_duplicates_alone_is_remembered(chat: Chat) -> None:
    await chat.say_once("a", "b")
    first = await chat.say_once("b", "a", idempotency=keyed())
    await chat.clear()
    again = await chat.say_once("b", "a", idempotency=keyed())

    assert first.duplicates == again.duplicates == (0, 1)
    assert (again.count, again.last_seq, again.replayed_rev) == (0, 2, 1)
    assert await chat.texts() == []
    assert (await chat.say_once("a", idempotency=keyed("next"))).count == 1


async def test_calls_that_change_nothing_are_remembered(chat: Chat) -> None:
    await chat.put()
    nothing = await chat.write(deletes=["a"], idempotency=keyed("write"))
    popped = await chat.pop(1, idempotency=keyed("pop"))
    await chat.say("x")
    await chat.write({"a": b"1"})

    assert (nothing.changed, popped.changed) == (False, False)
    assert (await chat.write(deletes=["a"], idempotency=keyed("write"))).deleted == 0
    assert (await chat.pop(1, idempotency=keyed("pop"))).messages == ()
    assert await chat.texts() == ["x"]
    assert await chat.state() == {"a": b"1"}


async def test_the_values_of_a_repeated_batch_are_read_anew(chat: Chat) -> None:
    first = await chat.write({"a": b"1"}, gets=["a", "b"], idempotency=keyed())
    await chat.write({"a": b"later", "b": b"2"})
    again = await chat.write({"a": b"1"}, gets=["a", "b"], idempotency=keyed())

    def data(done: object) -> list[bytes | None]:
        values = getattr(done, "values").values()  # noqa: B009 # of any outcome
        return [stored and stored.value.data for stored in values]

    assert data(first) == [b"1", None]
    assert data(again) == [b"later", b"2"]
    assert again.added == 1


async def test_a_call_that_makes_the_session_is_remembered(chat: Chat) -> None:
    first = await chat.say("x", idempotency=keyed())
    again = await chat.say("x", idempotency=keyed())

    assert first.session.etag.rev == again.replayed_rev == 1
    assert await chat.texts() == ["x"]


async def test_the_last_sixteen_calls_are_remembered(chat: Chat) -> None:
    for number in range(MOST_CALLS + 1):
        await chat.say(str(number), idempotency=keyed(str(number)))

    assert (await chat.say("1", idempotency=keyed("1"))).replayed_rev == 2
    assert (await chat.say("0", idempotency=keyed("0"))).replayed_rev is None
    assert (await chat.say("1", idempotency=keyed("1"))).replayed_rev is None
    assert (await chat.say("16", idempotency=keyed("16"))).replayed_rev == MOST_CALLS + 1


async def test_calls_of_all_kinds_share_the_sixteen(chat: Chat) -> None:
    await fill(chat)
    await pop(chat, UNCONDITIONAL, keyed("pop"))
    for number in range(MOST_CALLS - 1):
        await write(chat, UNCONDITIONAL, keyed(str(number)))
    assert (await chat.pop(2, idempotency=keyed("pop"))).replayed_rev is not None
    await say_once(chat, UNCONDITIONAL, keyed("append"))

    assert (await chat.pop(2, idempotency=keyed("pop"))).replayed_rev is None


@pytest.mark.parametrize(("minutes", "is_known"), [(1_438, True), (1_440, False)])
async def test_a_call_is_remembered_for_a_day(
    chat: Chat, redis: Redis, *, minutes: int, is_known: bool
) -> None:
    await chat.say("x", idempotency=keyed())
    age_calls_by(redis, chat, minutes)
    again = await chat.say("x", idempotency=keyed())

    assert (again.replayed_rev is not None) == is_known
    assert (await chat.say("x", idempotency=keyed())).replayed_rev == (1 if is_known else 2)


async def test_a_session_that_is_not_there_remembers_nothing(chat: Chat, redis: Redis) -> None:
    for call in (write, pop):
        if call is pop:
            assert await call(chat, UNCONDITIONAL, keyed()) is None
        with pytest.raises(PreconditionFailed) as failure:
            await call(chat, matching(ANY), keyed())
        assert not failure.value.is_replayed
    assert redis.dbsize() == 0

    await fill(chat)
    assert (await write(chat, matching(ANY), keyed())).replayed_rev is None  # type: ignore[attr-defined]


async def test_a_call_is_forgotten_with_its_session(chat: Chat, name: str) -> None:
    await fill(chat)
    await CALLS[name](chat, UNCONDITIONAL, keyed())
    await chat.delete()
    await fill(chat)

    assert (await CALLS[name](chat, UNCONDITIONAL, keyed())).replayed_rev is None


async def test_what_contradicts_the_session_is_not_remembered(chat: Chat) -> None:
    await chat.say_once("a")
    with pytest.raises(Conflict):
        await chat.say_once("b", member="name", idempotency=keyed())
    await chat.delete()
    await chat.put()

    done = await chat.say_once("b", member="name", idempotency=keyed())
    assert (done.count, done.replayed_rev) == (1, None)


async def test_a_popped_message_comes_back_byte_by_byte(chat: Chat) -> None:
    texts = ['"\u00e9\\u0000"', " [1.0] ", '{"a":1,"a":2}']
    await chat.say(*texts)
    first = await chat.pop(9, idempotency=keyed())
    again = await chat.pop(9, idempotency=keyed())

    assert [m.data.decode() for m in again.messages] == texts
    assert again.messages == first.messages
    assert await chat.texts() == []


async def test_keys_are_compared_whole(chat: Chat) -> None:
    keys = ["k", "kk", "", "K", "\x00", "\u00e9"]
    for number, key in enumerate(keys[:2]):
        await chat.say(str(number), idempotency=keyed(key))
    for key in keys[2:]:
        done = await chat.say("x", idempotency=keyed(key))
        assert done.replayed_rev is None
