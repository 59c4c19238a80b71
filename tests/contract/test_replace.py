"""Replacing all messages: a client's own compaction."""

import pytest

from service.errors import Conflict, TooLarge
from service.model import Window
from service.writes import SettingsChange
from tests.store_calls import Chat, tag_of


async def test_messages_are_put_verbatim_in_the_place_of_all(chat: Chat) -> None:
    await chat.say("1", "2")
    await chat.write({"k": b"1"})
    done = await chat.replace('{"a": 1.0, "a":2}', "[1e999]")

    assert (done.first_seq, done.last_seq, done.count) == (3, 4, 2)
    assert (done.first_seq_held, done.last_seq_held) == (3, 4)
    page = await chat.page(Window(limit=9))
    assert [(m.seq, m.at_ms) for m in page.messages] == [(3, done.at_ms), (4, done.at_ms)]
    assert await chat.texts() == ['{"a": 1.0, "a":2}', "[1e999]"]
    assert await chat.state() == {"k": b"1"}


async def test_nothing_may_be_put_in_the_place_of_all(chat: Chat) -> None:
    await chat.say("1", "2")
    done = await chat.replace()

    assert (done.count, done.first_seq_held, done.last_seq_held) == (0, None, None)
    assert done.changed
    assert await chat.texts() == []
    assert (await chat.say("3")).first_seq == 3


@pytest.mark.parametrize("texts", [(), ("1",)])
async def test_a_replacement_makes_the_session(chat: Chat, texts: tuple[str, ...]) -> None:
    done = await chat.replace(*texts)

    assert done.session.etag.rev == 1
    assert done.session.message_count == len(texts)
    assert await chat.texts() == list(texts)


async def test_equal_messages_are_a_change(chat: Chat) -> None:
    first = await chat.replace("1")
    second = await chat.replace("1")

    assert second.session.etag.rev == first.session.etag.rev + 1
    assert second.first_seq == 2


async def test_more_than_the_session_keeps_is_refused_and_changes_nothing(chat: Chat) -> None:
    before = await chat.say("old", change=SettingsChange(max_messages=3))
    with pytest.raises(TooLarge) as failure:
        await chat.replace(*"1234")
    with pytest.raises(TooLarge):
        await chat.replace(*"123", change=SettingsChange(max_messages=2))

    assert failure.value.limit == 3
    assert (await chat.view()).session == before.session
    assert await chat.texts() == ["old"]
    assert (await chat.replace(*"123")).count == 3
    assert (await chat.replace(*"1234", change=SettingsChange(max_messages=4))).count == 4


async def test_more_than_the_default_makes_no_session(chat: Chat) -> None:
    with pytest.raises(TooLarge) as failure:
        await chat.replace(*["{}"] * 1_001)

    assert failure.value.limit == 1_000
    assert await chat.is_absent()
    assert (await chat.replace(*["{}"] * 1_000)).session.message_count == 1_000


async def test_what_is_remembered_is_made_anew(chat: Chat) -> None:
    await chat.say_once("a", "b", "c")
    done = await chat.replace_once("b", "x")

    assert done.duplicates == ()
    assert await chat.texts() == ["b", "x"]
    assert (await chat.say_once("a", "b", "c", "x")).duplicates == (1, 3)


async def test_a_message_named_twice_is_put_twice(chat: Chat) -> None:
    assert (await chat.replace_once("a", "a")).count == 2
    assert (await chat.say_once("a")).duplicates == (0,)


async def test_without_the_member_nothing_is_remembered_but_the_member_stays(chat: Chat) -> None:
    await chat.say_once("a", "b")
    await chat.replace("1", "2")

    assert (await chat.say_once("a", "b")).first_seq == 5
    with pytest.raises(Conflict):
        await chat.say_once("c", member="name")


async def test_another_member_is_a_conflict_that_changes_nothing(chat: Chat) -> None:
    before = await chat.say_once("a")
    with pytest.raises(Conflict) as failure:
        await chat.replace_once("b", member="name")

    assert failure.value.code == "dedupe_mismatch"
    assert tag_of((await chat.view()).session) == tag_of(before.session)
    assert await chat.texts() == ["a"]


async def test_replacing_names_the_member_of_a_session_that_had_none(chat: Chat) -> None:
    await chat.say("1")
    await chat.replace_once("a", member="name")

    assert (await chat.say_once("a", member="name")).duplicates == (0,)


async def test_a_thousand_large_messages_are_replaced_whole(chat: Chat) -> None:
    texts = [str(number) * 2_000 for number in range(1_000)]
    await chat.say(*texts)
    await chat.replace(*reversed(texts))

    assert await chat.texts() == texts[::-1]
