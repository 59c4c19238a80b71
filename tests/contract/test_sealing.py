"""Sealing in Redis: nothing is lost, doubled or changed by it; what is deleted leaves for good."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import product

import pytest
from redis import Redis

from service import packing
from service.chunks import Sealing, columns_of, is_chunk, resealed
from service.codec import digest
from service.errors import StoreFull
from service.model import Limits, Message, Reading, Window
from service.packing import pack_next
from service.sealing import _split
from service.store import Link, RedisStore, RedisTarget
from service.store.keys import session_keys
from service.store.link import Argument, Reply
from service.store.scripts import Script
from service.writes import SettingsChange
from tests.servers import Server, start_server
from tests.store_calls import (
    DEFAULTS,
    Chat,
    keyed,
    lives,
    open_store,
    page_by_hand,
    ref_of,
    shown,
)

TAIL = Reading(window=Window(limit=1_000))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "CHUNK_MESSAGES", 8)
    monkeypatch.setattr(packing, "LEAST_GAIN", -1_000)


async def sealing_of(chat: Chat) -> Sealing | None:
    return pack_next(*_split((await chat.view(TAIL)).elements))


async def offer(chat: Chat, sealing: Sealing) -> bool:
    assert isinstance(chat.tier, RedisStore)
    return await chat.tier.seal(chat.ref, (await chat.view()).session.etag.gen, sealing)


async def seal(chat: Chat) -> None:
    """Seal all that can be sealed."""
    while (sealing := await sealing_of(chat)) is not None:
        assert await offer(chat, sealing)


async def messages_of(chat: Chat) -> list[Message]:
    return list((await chat.page(Window(limit=1_000))).messages)


def elements(redis: Redis, chat: Chat) -> list[bytes]:
    found: list[bytes] = redis.lrange(session_keys(chat.ref).log.decode(), 3, -1)  # type: ignore[assignment]
    return found


async def fill(chat: Chat, count: int = 30) -> list[Message]:
    """Say so many things, most of them sealed, and return them."""
    for number in range(count):
        await chat.say(f'{{"n":{number}}}')
        if number % 5 == 4 and number < count - 3:
            await seal(chat)
    return await messages_of(chat)


async def test_sealing_changes_nothing_that_is_told(chat: Chat, redis: Redis) -> None:
    for number in range(20):
        await chat.say_once(f'{{"id":{number}}}')
    await chat.write({"a": b"1"})
    before, texts = await chat.view(), await chat.texts()
    keys_live = lives(redis, chat.ref)
    await seal(chat)
    after = await chat.view()

    assert all(map(is_chunk, elements(redis, chat)))
    assert after.session == before.session
    assert shown(after.page) == shown(before.page)
    assert await chat.texts() == texts
    assert all(0 <= a - b < 2_000 for a, b in zip(keys_live, lives(redis, chat.ref), strict=True))
    assert (await chat.say_once('{"id":3}')).count == 0


async def test_windows_are_right_whatever_is_sealed(chat: Chat) -> None:
    messages = await fill(chat)
    seqs = [None, 0, 5, 8, 9, 20, 29, 99]
    times = [None, messages[12].at_ms, messages[-1].at_ms + 1]

    for limit, newest, after, before, since in product(
        [0, 1, 9, 1_000], [True, False], seqs, seqs, times
    ):
        window = Window(limit=limit, newest=newest, after=after, before=before, since_ms=since)
        assert shown(await chat.page(window)) == shown(page_by_hand(messages, window)), window


async def test_bytes_are_counted_whatever_is_sealed(chat: Chat) -> None:
    messages = await fill(chat)
    for limit, newest, after, most in product(
        [3, 1_000], [True, False], [None, 4, 11], [0, 7, 8, 20, 60, 10_000]
    ):
        window = Window(limit=limit, newest=newest, after=after, max_bytes=most)
        assert shown(await chat.page(window)) == shown(page_by_hand(messages, window)), window


@pytest.mark.parametrize("part_bytes", [60, 150])
async def test_parts_are_joined_whatever_is_sealed(server: Server, part_bytes: int) -> None:
    async with open_store(server.url) as store:
        chat = Chat(store)
        messages = await fill(chat)
        store._reader._part_bytes = part_bytes
        for limit, newest, before in product([1, 9, 1_000], [True, False], [None, 7, 20]):
            window = Window(limit=limit, newest=newest, before=before)
            assert shown(await chat.page(window)) == shown(page_by_hand(messages, window)), window


@pytest.mark.parametrize("seq", [1, 2, 8, 9, 15, 29, 30])
async def test_one_is_deleted_out_of_a_chunk_and_its_bytes_with_it(
    chat: Chat, redis: Redis, seq: int
) -> None:
    messages = await fill(chat)
    done = await chat.delete_one(seq)
    if done.narrowed:
        assert await offer(chat, resealed(done.narrowed))
    left = [message for message in messages if message.seq != seq]

    assert done.count == 1
    assert await messages_of(chat) == left
    assert (done.first_seq, done.last_seq) == (left[0].seq, left[-1].seq)
    stored = [seq_ for each in elements(redis, chat) for seq_ in columns_of((each,)).seqs]
    assert seq not in stored
    assert (await chat.delete_one(seq)).count == 0
    assert (await chat.say("{}")).last_seq == 31


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9, 29, 30, 99])
async def test_the_newest_are_popped_out_of_chunks(chat: Chat, count: int) -> None:
    messages = await fill(chat)
    done = await chat.pop(count)
    left = messages[: max(0, 30 - count)]

    assert list(done.messages) == messages[len(left) :]
    assert await messages_of(chat) == left
    await chat.say("{}")
    assert [m.seq for m in await messages_of(chat)] == [m.seq for m in left] + [31]


@pytest.mark.parametrize("before", [0, 1, 2, 8, 9, 17, 30, 31])
async def test_the_oldest_are_trimmed_out_of_chunks(chat: Chat, before: int) -> None:
    messages = await fill(chat)
    await chat.delete_one(5)
    left = [m for m in messages if m.seq >= before and m.seq != 5]
    done = await chat.trim(before)

    assert done.count == 29 - len(left)
    assert await messages_of(chat) == left
    assert (await chat.view()).session.message_count == len(left)


async def test_a_bounded_log_keeps_the_newest_and_drops_whole_chunks(
    chat: Chat, redis: Redis
) -> None:
    await chat.put(SettingsChange(max_messages=20))
    most = 0
    for number in range(300):
        await chat.say(f'{{"n":{number}}}')
        if number % 5 == 4:
            await seal(chat)
        most = max(most, len(elements(redis, chat)))
        if number == 100:
            await chat.delete_one(90)

    messages = await messages_of(chat)
    assert [m.seq for m in messages] == list(range(281, 301))
    assert most <= (20 + 64) // 5 + 8
    assert (await chat.view()).session.message_count == 20


async def test_a_setting_trims_chunks_at_once(chat: Chat, redis: Redis) -> None:
    messages = await fill(chat)
    await chat.change(SettingsChange(max_messages=4))

    assert await messages_of(chat) == messages[-4:]
    assert len(elements(redis, chat)) <= 4


async def moved_by_pop(chat: Chat) -> None:
    await chat.pop(1)


async def moved_by_deletion(chat: Chat) -> None:
    await chat.delete_one(3)


async def moved_by_replacing(chat: Chat) -> None:
    await chat.replace("{}", "{}")


async def moved_by_a_new_session(chat: Chat) -> None:
    await chat.delete()
    await chat.say(*("{}" for _ in range(6)))


async def moved_by_another(chat: Chat) -> None:
    await seal(chat)


@pytest.mark.parametrize(
    "move",
    [moved_by_pop, moved_by_deletion, moved_by_replacing, moved_by_a_new_session, moved_by_another],
)
async def test_a_chunk_that_comes_too_late_is_not_taken(chat: Chat, move: object) -> None:
    assert callable(move)
    await chat.say(*(f'{{"n":{number}}}' for number in range(6)))
    gen, sealing = (await chat.view()).session.etag.gen, await sealing_of(chat)
    await move(chat)
    before = await messages_of(chat)

    assert sealing is not None
    assert isinstance(chat.tier, RedisStore)
    assert not await chat.tier.seal(chat.ref, gen, sealing)
    assert await messages_of(chat) == before


async def test_what_was_said_meanwhile_stays_behind_the_chunk(chat: Chat, redis: Redis) -> None:
    await chat.say('{"n":1}', '{"n":2}')
    sealing = await sealing_of(chat)
    await chat.say('{"n":3}')

    assert sealing is not None
    assert await offer(chat, sealing)
    assert [is_chunk(each) for each in elements(redis, chat)] == [True, False]
    assert await chat.texts() == ['{"n":1}', '{"n":2}', '{"n":3}']
    assert (await chat.say("{}")).tail == 2


async def test_a_session_that_is_gone_takes_no_chunk(chat: Chat) -> None:
    await chat.say("{}", "{}")
    sealing = await sealing_of(chat)
    await chat.delete()

    assert sealing is not None
    assert isinstance(chat.tier, RedisStore)
    assert not await chat.tier.seal(chat.ref, "gen", sealing)
    assert await chat.is_absent()


async def test_a_full_redis_takes_chunks(shared_server: Server) -> None:
    with start_server(shared_server.flavour, "--maxmemory-policy", "noeviction") as full:
        async with open_store(full.url) as store:
            chat = Chat(store)
            texts = [f'{{"text":"{"x" * 200}{number}"}}' for number in range(8)]
            await chat.say(*texts)
            with Redis.from_url(full.url) as redis:
                redis.config_set("maxmemory", 1)
                with pytest.raises(StoreFull):
                    await chat.say("{}")
                await seal(chat)
                assert all(map(is_chunk, elements(redis, chat)))
            assert await chat.texts() == texts


async def test_a_copy_takes_chunks_as_they_are(chat: Chat, redis: Redis) -> None:
    await chat.put(SettingsChange(max_messages=25))
    await fill(chat)
    assert isinstance(chat.tier, RedisStore)
    copy = Chat(chat.tier, ref_of("copy"))
    await chat.tier.create(copy.ref, await chat.snapshot())

    held = elements(redis, copy)  # what holds nothing any more is not copied
    assert held == elements(redis, chat)[-len(held) :]
    assert await messages_of(copy) == await messages_of(chat)
    await copy.say("{}")
    assert len(await messages_of(copy)) == 25
    assert (await chat.view()).session.message_count == 25


async def test_a_popped_chunk_is_repeated_to_a_keyed_call(chat: Chat) -> None:
    messages = await fill(chat)
    first = await chat.pop(9, idempotency=keyed())
    again = await chat.pop(9, idempotency=keyed())

    assert list(first.messages) == list(again.messages) == messages[-9:]
    assert again.replayed_rev == first.session.etag.rev
    assert len(await messages_of(chat)) == 21


async def test_a_message_is_found_in_its_chunk_by_what_identifies_it(chat: Chat) -> None:
    await chat.say_once(*(f'{{"id":{number}}}' for number in range(8)))
    await seal(chat)
    page = await chat.page(Window(limit=1, digest=digest('{"id":4}')))

    assert [(m.seq, m.data) for m in page.messages] == [(5, b'{"id":4}')]


async def test_a_message_that_was_trimmed_is_not_found_by_what_identifies_it(chat: Chat) -> None:
    await chat.put(SettingsChange(max_messages=10))
    await chat.say_once(*(f'{{"id":{number}}}' for number in range(8)))
    await seal(chat)
    await chat.say_once(*(f'{{"id":{number}}}' for number in range(8, 15)))

    for number, is_held in ((2, False), (4, False), (5, True), (14, True)):
        page = await chat.page(Window(limit=1, digest=digest(f'{{"id":{number}}}')))
        assert (page.count == 1) is is_held


@pytest.mark.parametrize("newest", [True, False])
async def test_a_sealing_between_two_parts_doubles_nothing(server: Server, *, newest: bool) -> None:
    link = InterruptedLink(RedisTarget(url=server.url))
    store = RedisStore(link, Limits(), DEFAULTS)
    chat = Chat(store)
    await chat.say(*(f'{{"n":{number}}}' for number in range(30)))
    messages = await messages_of(chat)
    store._reader._part_bytes = 100
    other = Link(RedisTarget(url=server.url))
    link.interruption = partial(seal, Chat(RedisStore(other, Limits(), DEFAULTS)))
    window = Window(limit=1_000, newest=newest)

    assert shown(await chat.page(window)) == shown(page_by_hand(messages, window))
    assert not vars(link)["interruption"]
    await link.aclose()
    await other.aclose()


class InterruptedLink(Link):
    """The real link; after the first part of a reading something else happens, once."""

    interruption: Callable[[], Awaitable[None]] | None = None

    async def run(
        self,
        script_: Script,
        keys: Sequence[bytes],
        args: Sequence[Argument],
        *,
        is_large: bool | None = None,
    ) -> Reply:
        reply = await super().run(script_, keys, args, is_large=is_large)
        interruption, self.interruption = self.interruption, None
        if interruption is not None:
            await interruption()
        return reply


@pytest.mark.parametrize("newest", [True, False])
async def test_parts_that_begin_inside_a_chunk_are_whole(server: Server, *, newest: bool) -> None:
    async with open_store(server.url) as store:
        chat = Chat(store)
        messages = await fill(chat)
        store._reader._part_bytes = 60
        for limit in (2, 7, 12):
            window = Window(limit=limit, newest=newest, before=12, after=2)
            assert shown(await chat.page(window)) == shown(page_by_hand(messages, window)), window


async def test_a_chunk_of_what_was_partly_sealed_meanwhile_is_not_taken(chat: Chat) -> None:
    await chat.say(*(f'{{"n":{number}}}' for number in range(6)))
    sealing = await sealing_of(chat)
    view = await chat.view(TAIL)
    middle = pack_next(None, list(view.elements[3:4]))

    assert sealing is not None
    assert middle is not None
    assert await offer(chat, middle)
    assert not await offer(chat, sealing)
    assert len(await messages_of(chat)) == 6
