"""Messages: dense seqs, trimming, and the window of dedupe."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import Conflict
from service.model import Conditions, Limits, Window
from service.store import Defaults, RedisStore
from service.writes import Append, Appended, SettingsChange
from tests.servers import Server
from tests.store_calls import CHAT, DEFAULTS, Chat, open_store

SMALL_WINDOW = Defaults(ttl_ms=0, max_messages=6, dedupe_window=4)


@pytest.fixture
async def small_store(server: Server) -> AsyncIterator[RedisStore]:
    """A store that keeps 6 messages and remembers 4."""
    async with open_store(server.url, defaults=SMALL_WINDOW) as store:
        yield store


async def test_messages_are_kept_verbatim_in_order_with_dense_seqs(chat: Chat) -> None:
    first = await chat.say('{"a": 1.0}', '{ "b":"\\u00e9" }')
    second = await chat.say('{"c":1e999,"c":2}')

    assert (first.first_seq, first.last_seq, first.count) == (1, 2, 2)
    assert (second.first_seq, second.last_seq, second.count) == (3, 3, 1)
    page = await chat.page(Window(limit=10))
    assert [message.seq for message in page.messages] == [1, 2, 3]
    assert await chat.texts() == ['{"a": 1.0}', '{ "b":"\\u00e9" }', '{"c":1e999,"c":2}']


async def test_messages_of_one_call_share_a_time_that_never_steps_back(chat: Chat) -> None:
    calls = [await chat.say("{}", "{}") for _ in range(5)]
    page = await chat.page(Window(limit=10))

    times = [message.at_ms for message in page.messages]
    assert times == sorted(times)
    assert times == [call.at_ms for call in calls for _ in range(2)]


async def test_the_oldest_are_trimmed_inside_the_append(chat: Chat) -> None:
    await chat.put(SettingsChange(max_messages=3))
    await chat.write({"a": b"1"})
    done = await chat.say(*"12345")

    assert (done.first_seq, done.last_seq, done.first_seq_held) == (1, 5, 3)
    assert done.session.message_count == 3
    assert await chat.texts() == ["3", "4", "5"]
    assert await chat.state() == {"a": b"1"}


async def test_a_smaller_max_messages_trims_at_once_and_a_larger_brings_nothing_back(
    chat: Chat,
) -> None:
    await chat.say(*"12345")
    shrunk = await chat.put(SettingsChange(max_messages=2))
    await chat.put(SettingsChange(max_messages=100))

    assert shrunk.session.message_count == 2
    assert await chat.texts() == ["4", "5"]
    assert (await chat.say("6")).last_seq == 6


async def test_max_messages_in_an_append_counts_for_that_append(chat: Chat) -> None:
    await chat.say(*"123")
    done = await chat.say("4", change=SettingsChange(max_messages=1))

    assert done.first_seq_held == done.last_seq == 4
    assert await chat.texts() == ["4"]


async def test_a_state_write_leaves_messages_alone_whatever_it_names(chat: Chat) -> None:
    await chat.say(*"123")
    await chat.write({"a": b"1"}, change=SettingsChange(max_messages=2))

    assert await chat.texts() == ["1", "2", "3"]
    await chat.say("4")
    assert await chat.texts() == ["3", "4"]


async def test_a_message_seen_before_is_skipped_and_changes_nothing(chat: Chat) -> None:
    first = await chat.say_once("a", "b")
    again = await chat.say_once("b", "a")

    assert again.duplicates == (0, 1)
    assert (again.count, again.changed) == (0, False)
    assert again.session.etag == first.session.etag
    assert await chat.texts() == ["a", "b"]


async def test_duplicates_within_a_call_are_skipped(chat: Chat) -> None:
    done = await chat.say_once("a", "b", "a", None, None, "b", "c")

    assert done.duplicates == (2, 5)
    assert (done.first_seq, done.last_seq, done.count) == (1, 5, 5)
    assert await chat.texts() == ["a", "b", "None", "None", "c"]


async def test_only_duplicates_with_a_setting_are_a_change_of_the_setting(chat: Chat) -> None:
    await chat.say_once("a")
    await chat.put(SettingsChange(max_messages=5))
    done = await chat.say_once("a")

    assert done.session.etag.rev == 2
    assert not done.changed


@pytest.mark.parametrize(("between", "is_remembered"), [(511, True), (512, False)])
async def test_the_last_512_seqs_are_remembered(
    chat: Chat, *, between: int, is_remembered: bool
) -> None:
    await chat.say_once("a")
    for start in range(0, between, 500):
        await chat.say_once(*(f"n{i}" for i in range(start, min(between, start + 500))))
    done = await chat.say_once("a")

    assert done.duplicates == ((0,) if is_remembered else ())


@pytest.mark.parametrize(("before", "is_remembered"), [(499, True), (500, False)])
async def test_a_message_moves_the_window_for_those_behind_it_in_the_same_call(
    chat: Chat, *, before: int, is_remembered: bool
) -> None:
    await chat.say_once("a", *(f"n{i}" for i in range(12)))
    done = await chat.say_once(*(f"m{i}" for i in range(before)), "a")

    assert done.duplicates == ((before,) if is_remembered else ())


async def test_appends_without_dedupe_move_the_window(chat: Chat) -> None:
    await chat.say_once("a")
    await chat.say(*["{}"] * 500)
    await chat.say(*["{}"] * 11)
    assert (await chat.say_once("a")).duplicates == (0,)

    await chat.say("{}")
    assert (await chat.say_once("a")).duplicates == ()


async def test_dedupe_may_begin_late_and_still_count_seqs(chat: Chat) -> None:
    await chat.say(*["{}"] * 300)
    await chat.say_once("a")
    await chat.say(*["{}"] * 300)

    assert (await chat.say_once("a")).duplicates == (0,)


async def test_what_was_trimmed_is_still_remembered(chat: Chat) -> None:
    await chat.put(SettingsChange(max_messages=1))
    await chat.say_once("a", "b", "c")

    assert (await chat.say_once("a")).duplicates == (0,)


async def test_another_dedupe_member_is_a_conflict_that_changes_nothing(chat: Chat) -> None:
    first = await chat.say_once("a")
    with pytest.raises(Conflict) as failure:
        await chat.say_once("b", member="name")

    assert failure.value.code == "dedupe_mismatch"
    assert "'id'" in failure.value.detail
    assert (await chat.view()).session == first.session


@pytest.mark.parametrize("member", ["id", "ключ", "m" * 512])
async def test_the_name_of_the_member_is_kept_whatever_it_is(chat: Chat, member: str) -> None:
    await chat.say_once("a", member=member)

    assert (await chat.say_once("a", member=member)).duplicates == (0,)


async def test_a_digest_is_not_found_across_two_others(store: RedisStore) -> None:
    async def append(*digests: bytes) -> Appended:
        append = Append(messages=(b"{}",) * len(digests), digests=digests, dedupe="id")
        return await store.append(CHAT, append, Conditions())

    await append(b"AAAAaaaa", b"BBBBbbbb")
    assert (await append(b"aaaaBBBB")).duplicates == ()
    assert (await append(b"BBBBbbbb")).duplicates == (0,)


async def test_as_many_duplicates_as_a_call_may_hold_are_told(server: Server) -> None:
    limits, defaults = Limits(), Defaults(ttl_ms=0, max_messages=10_000, dedupe_window=4_096)
    async with open_store(server.url, limits, defaults) as store:
        ids = [f"n{i}" for i in range(4_000)]
        await Chat(store).say_once(*ids)
        done = await Chat(store).say_once(*ids, *ids[:1_000])

    assert done.duplicates == tuple(range(5_000))


async def test_a_ring_longer_than_a_smaller_window_is_cut(server: Server) -> None:
    async with open_store(server.url, defaults=DEFAULTS) as store:
        await Chat(store).say_once("a", "b", "c", "d", "e", "f")
    async with open_store(server.url, defaults=SMALL_WINDOW) as store:
        assert (await Chat(store).say_once("b")).duplicates == ()
        assert (await Chat(store).say_once("c", "b", "d")).duplicates == (1,)


IDS = st.one_of(st.none(), st.sampled_from("abcdefgh"))
CALLS = st.lists(
    st.tuples(st.booleans(), st.lists(IDS, min_size=1, max_size=7)), min_size=1, max_size=8
)


@given(calls=CALLS)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_dedupe_and_trimming_agree_with_a_list(
    small_store: RedisStore, calls: list[tuple[bool, list[str | None]]]
) -> None:
    chat = Chat(small_store)
    await chat.delete()
    log: list[str | None] = []
    texts: list[str] = []
    for is_deduped, ids in calls:
        expected = []
        for index, name in enumerate(ids):
            if is_deduped and name is not None and name in log[-SMALL_WINDOW.dedupe_window :]:
                expected.append(index)
                continue
            log.append(name if is_deduped else None)
            texts.append(str(name))
        if is_deduped:
            done = await chat.say_once(*ids)
        else:
            done = await chat.say(*map(str, ids))
        assert done.duplicates == tuple(expected)
        assert done.last_seq == len(log)
        assert await chat.texts() == texts[-SMALL_WINDOW.max_messages :]
