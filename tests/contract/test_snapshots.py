"""A session made out of the snapshot of another."""

import pytest
from msgspec.structs import replace
from redis import Redis

from service.errors import Conflict, TooLarge
from service.model import Limits, SessionRef, StateKey, Touch, Value, Window
from service.store import RedisStore
from service.store.keys import session_keys
from service.writes import Done, SettingsChange
from tests.servers import Server
from tests.store_calls import Chat, keyed, lives, open_store, ref_of

COPY = ref_of("copy")


async def copy(chat: Chat, store: RedisStore, target: SessionRef = COPY) -> tuple[Chat, Done]:
    done = await store.create(target, await chat.snapshot())
    return Chat(store, target), done


async def test_all_is_copied_but_what_makes_it_another_session(
    chat: Chat, store: RedisStore
) -> None:
    change = SettingsChange(ttl_ms=60_000, touch=Touch.NEVER, max_age_ms=90_000, max_messages=7)
    await chat.put(change)
    await chat.say('{"a": 1.0, "a":2}', '{"\\u00e9":1e999}')
    raw = Value(b"\x00\xff", "image/png", is_json=False)
    await chat.write({"json": b" [1.0]", "raw": raw, "": b"{}"})
    source = await chat.view()
    other, done = await copy(chat, store)
    view = await other.view()

    was, session = source.session, view.session
    assert session == done.session
    assert session.etag.gen != was.etag.gen
    assert session.etag.rev == 1
    assert session.created_at_ms == session.renewed_at_ms == done.now_ms
    same = replace(
        session,
        id=was.id,
        etag=was.etag,
        created_at_ms=was.created_at_ms,
        updated_at_ms=was.updated_at_ms,
        renewed_at_ms=was.renewed_at_ms,
    )
    assert same == was
    assert view.page == source.page
    assert {k: v and v.value for k, v in view.values.items()} == {
        k: v and v.value for k, v in source.values.items()
    }


async def test_a_copied_value_has_a_tag_of_its_own(chat: Chat, store: RedisStore) -> None:
    done = await chat.write({"a": b"1", "b": b"1"})
    other, _ = await copy(chat, store)

    tags = {stored.tag for stored in (await other.view()).values.values() if stored}
    assert len(tags) == 1
    assert tags != {done.tag}


async def test_a_copy_and_its_source_go_separate_ways(chat: Chat, store: RedisStore) -> None:
    await chat.say("1")
    await chat.write({"a": b"1"})
    other, _ = await copy(chat, store)
    await other.say("2")
    await other.write({"a": b"2"})
    await chat.delete()

    assert await other.texts() == ["1", "2"]
    assert await other.state() == {"a": b"2"}


async def test_the_memory_of_messages_is_copied(chat: Chat, store: RedisStore) -> None:
    await chat.put(SettingsChange(max_messages=2))
    await chat.say_once("a", "b", "c", "d")
    await chat.delete_one(4)
    other, _ = await copy(chat, store)

    assert (await other.say_once("a", "b", "c", "d", "e")).duplicates == (0, 1, 2)
    with pytest.raises(Conflict):
        await other.say_once("x", member="name")


async def test_seqs_go_on_where_they_were(chat: Chat, store: RedisStore) -> None:
    await chat.say("1", "2", "3")
    await chat.pop(3)
    other, _ = await copy(chat, store)

    assert (await other.say("4")).first_seq == 4


async def test_keyed_calls_are_not_copied(chat: Chat, store: RedisStore) -> None:
    await chat.say("1", idempotency=keyed())
    other, _ = await copy(chat, store)

    assert (await other.say("1", idempotency=keyed())).replayed_rev is None


async def test_expiries_of_keys_are_copied(chat: Chat, store: RedisStore, redis: Redis) -> None:
    done = await chat.write({"a": b"1", "b": b"1"}, key_ttl_ms=60_000)
    await chat.write({"c": b"1"})
    redis.zadd(session_keys(chat.ref).expiries.decode(), {"b": 1})
    other, copied = await copy(chat, store)

    values = (await other.view()).values
    assert {key: v and v.expires_at_ms for key, v in values.items()} == {
        "a": done.now_ms + 60_000,
        "c": None,
    }
    assert copied.session.state_key_count == 2
    left = lives(redis, COPY)
    assert max(left) - min(left) <= 1


async def test_a_session_without_contents_is_copied(
    chat: Chat, store: RedisStore, redis: Redis
) -> None:
    await chat.put(SettingsChange(ttl_ms=0))
    other, done = await copy(chat, store)

    assert done.session.expires_at_ms is None
    assert redis.pttl(session_keys(other.ref).log) == -1
    assert redis.dbsize() == 2


async def test_a_target_that_exists_is_left_as_it_is(
    chat: Chat, store: RedisStore, redis: Redis
) -> None:
    await chat.say("1")
    await Chat(store, COPY).say("other")
    before = {name: redis.dump(name) for name in redis.scan_iter()}
    for target in (COPY, chat.ref):
        with pytest.raises(Conflict) as failure:
            await copy(chat, store, target)
        assert failure.value.code == "session_exists"

    assert {name: redis.dump(name) for name in redis.scan_iter()} == before


async def test_there_is_no_snapshot_of_nothing(store: RedisStore) -> None:
    assert await store.snapshot(COPY) is None


@pytest.mark.parametrize("excess", [0, 1])
async def test_a_snapshot_holds_as_much_as_an_answer_may(server: Server, excess: int) -> None:
    async with open_store(server.url, Limits(max_answer_bytes=1_000)) as store:
        chat = Chat(store)
        await chat.say("x" * 300, "y" * 300)
        await chat.write({"a": b"1" * 200, "b": b"2" * (200 + excess)})
        if excess:
            with pytest.raises(TooLarge) as failure:
                await chat.snapshot()
            assert failure.value.limit == 1_000
            return
        other, _ = await copy(chat, store)
        assert await other.texts() == await chat.texts()


@pytest.mark.parametrize("count", [1, 4])
async def test_messages_or_values_alone_may_be_too_large_a_snapshot(
    server: Server, count: int
) -> None:
    async with open_store(server.url, Limits(max_answer_bytes=1_000)) as store:
        chat = Chat(store)
        await chat.say(*["x" * (1_004 // count)] * count)
        with pytest.raises(TooLarge):
            await chat.snapshot()
        await chat.clear()
        await chat.write({str(i): b"x" * (1_004 // count) for i in range(count)})
        with pytest.raises(TooLarge):
            await chat.snapshot()


async def test_a_session_of_thousands_is_copied_whole(chat: Chat, store: RedisStore) -> None:
    await chat.put(SettingsChange(max_messages=20_000))
    for start in range(0, 5_000, 2_500):
        await chat.say(*map(str, range(start, start + 2_500)))
    values = {f"key-{number}": b"%d" % number for number in range(2_500)}
    await chat.write(values, key_ttl_ms=60_000)
    other, done = await copy(chat, store)

    assert (done.session.message_count, done.session.state_key_count) == (5_000, 2_500)
    everything = Window(limit=1_000_000)
    assert await other.page(everything) == await chat.page(everything)
    assert await other.state() == values
    assert StateKey("key-2499") in (await other.snapshot()).expiries


async def test_a_session_of_several_parts_is_copied_whole(chat: Chat, store: RedisStore) -> None:
    texts, values = ["x" * 1_000_000] * 5, {key: key.encode() * 1_500_000 for key in "abc"}
    await chat.say(*texts)
    await chat.write(values)
    other, _ = await copy(chat, store)

    assert await other.texts() == texts
    assert await other.state() == values
