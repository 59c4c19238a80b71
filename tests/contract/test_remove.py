"""Removing messages: all, one, those before a seq, the newest few; and what is forgotten."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.codec import digest
from service.errors import TooLarge
from service.model import Limits, Message, Window
from service.store import Defaults
from service.store.replies import MOST_REMEMBERED_BYTES
from service.writes import Cut, Removal, Removed, SettingsChange
from tests.servers import Server
from tests.store_calls import UNCONDITIONAL, Chat, keyed, open_store, tag_of

NAMES = "abcdefghij"


async def fill(chat: Chat) -> None:
    """Append the messages a to j, seqs 1 to 10, each remembered under its name."""
    await chat.say_once(*NAMES)


async def remembered(chat: Chat) -> str:
    """Those of a to j that would be skipped; they are asked for in a copy of the memory."""
    snapshot = await chat.snapshot()
    held = snapshot.ring
    digests = {held[i : i + 8] for i in range(0, len(held), 8)}
    return "".join(name for name in NAMES if digest(name) in digests)


def ends(done: Removed) -> tuple[int, int | None, int | None]:
    return done.count, done.first_seq, done.last_seq


async def test_all_go_and_all_are_forgotten(chat: Chat) -> None:
    await fill(chat)
    await chat.write({"k": b"1"})
    done = await chat.clear()

    assert ends(done) == (10, None, None)
    assert done.changed
    assert done.session.message_count == 0
    assert await chat.texts() == []
    assert await chat.state() == {"k": b"1"}
    again = await chat.say_once("a")
    assert (again.first_seq, again.duplicates) == (11, ())


@pytest.mark.parametrize(
    ("seq", "first", "last"), [(1, 2, 10), (10, 1, 9), (2, 1, 10), (5, 1, 10), (9, 1, 10)]
)
async def test_one_goes_and_its_neighbours_stay_remembered(
    chat: Chat, seq: int, first: int, last: int
) -> None:
    await fill(chat)
    before = (await chat.view()).session.etag
    done = await chat.delete_one(seq)

    assert ends(done) == (1, first, last)
    assert done.messages == ()
    assert done.session.etag.rev == before.rev + 1
    left = NAMES.replace(NAMES[seq - 1], "")
    assert "".join(await chat.texts()) == left
    assert await remembered(chat) == left
    again = await chat.say_once(*NAMES)
    assert (again.first_seq, again.count) == (11, 1)


@pytest.mark.parametrize("seq", [0, 4, 11, 2**47])
async def test_one_that_is_not_there_changes_nothing_and_renews(chat: Chat, seq: int) -> None:
    await fill(chat)
    before = (await chat.delete_one(4)).session
    done = await chat.delete_one(seq)

    assert ends(done) == (0, 1, 10)
    assert not done.changed
    assert done.session.etag == before.etag
    assert done.session.updated_at_ms == before.updated_at_ms
    assert done.session.renewed_at_ms == done.now_ms
    assert await remembered(chat) == NAMES.replace("d", "")


@pytest.mark.parametrize(
    ("before", "left"), [(0, NAMES), (1, NAMES), (2, "bcdefghij"), (10, "j"), (11, ""), (99, "")]
)
async def test_those_before_a_seq_go(chat: Chat, before: int, left: str) -> None:
    await fill(chat)
    tag = tag_of((await chat.view()).session)
    done = await chat.trim(before)

    assert done.count == 10 - len(left)
    assert "".join(await chat.texts()) == left
    assert await remembered(chat) == left
    assert done.messages == ()
    assert (tag_of(done.session) == tag) == (left == NAMES) == (not done.changed)


@pytest.mark.parametrize("before", [3, 4, 5])
async def test_a_hole_is_no_place_to_stumble(chat: Chat, before: int) -> None:
    await fill(chat)
    for seq in (3, 4, 7):
        await chat.delete_one(seq)

    assert (await chat.trim(before)).count == 2
    assert "".join(await chat.texts()) == "efhij"
    assert (await chat.delete_one(7)).count == 0
    assert [m.seq for m in (await chat.pop(4)).messages] == [6, 8, 9, 10]
    assert ends(await chat.delete_one(5)) == (1, None, None)


@pytest.mark.parametrize("count", [0, 1, 3, 10, 11, 1_000_000])
async def test_the_newest_are_popped_newest_last(chat: Chat, count: int) -> None:
    await fill(chat)
    held = (await chat.page(Window(limit=100))).messages
    done = await chat.pop(count)

    taken = min(count, 10)
    assert done.messages == held[10 - taken :]
    assert done.count == taken
    assert (done.first_seq, done.last_seq) == ((1, 10 - taken) if taken < 10 else (None, None))
    assert done.changed == (count > 0)
    assert await remembered(chat) == NAMES[: 10 - taken]
    assert (await chat.say("{}")).first_seq == 11


async def test_a_pop_of_a_session_without_messages_gives_none(chat: Chat) -> None:
    tag = tag_of((await chat.put()).session)
    done = await chat.pop(3)

    assert (done.messages, done.changed) == ((), False)
    assert tag_of(done.session) == tag


@pytest.mark.parametrize("cut", list(Cut))
async def test_nothing_is_removed_from_a_session_that_is_not_there(chat: Chat, cut: Cut) -> None:
    removal = Removal(cut=cut, number=1)

    assert await chat.tier.remove(chat.ref, removal, UNCONDITIONAL) is None
    assert await chat.is_absent()


@pytest.mark.parametrize("texts", [("x" * 101,), ("x" * 60, "y" * 41), ("x",) * 101])
async def test_a_pop_that_would_be_too_large_takes_nothing(
    server: Server, texts: tuple[str, ...]
) -> None:
    async with open_store(server.url, Limits(max_answer_bytes=200)) as store:
        await Chat(store).say(*texts)
    async with open_store(server.url, Limits(max_answer_bytes=100)) as store:
        chat = Chat(store)
        before = (await chat.view()).session
        with pytest.raises(TooLarge) as failure:
            await chat.pop(101)
        assert failure.value.limit == 100
        assert (await chat.view()).session.etag == before.etag
        assert (await chat.view()).session.message_count == len(texts)


async def test_a_pop_that_just_fits_is_taken_though_one_message_is_large(server: Server) -> None:
    # Each message is counted as Redis holds it, with 12 bytes of seq and time.
    async with open_store(server.url, Limits(max_answer_bytes=100)) as store:
        chat = Chat(store)
        await chat.say("x" * 66, "y", "z" * 9)
        done = await chat.pop(2)

    assert [m.data for m in done.messages] == [b"y", b"z" * 9]


@pytest.mark.parametrize("seq", range(6, 12))
async def test_what_was_trimmed_stays_remembered_beside_what_is_deleted(
    chat: Chat, seq: int
) -> None:
    await chat.put(SettingsChange(max_messages=5))
    await fill(chat)
    await chat.delete_one(seq)

    assert await remembered(chat) == NAMES.replace(NAMES[seq - 1 : seq] or "-", "")


async def test_forgetting_begins_where_memory_does(server: Server) -> None:
    window = Defaults(ttl_ms=0, max_messages=100, dedupe_window=4)
    async with open_store(server.url, defaults=window) as store:
        chat = Chat(store)
        await fill(chat)
        await chat.delete_one(2)
        assert await remembered(chat) == "ghij"
        await chat.trim(9)
        assert await remembered(chat) == "ij"
        assert (await chat.say_once("i", "h")).duplicates == (0,)


async def test_a_session_that_identifies_nothing_has_nothing_to_forget(chat: Chat) -> None:
    await chat.say(*NAMES)
    assert (await chat.delete_one(5)).count == 1
    assert (await chat.snapshot()).ring == b""


async def test_what_identifies_messages_is_kept_though_all_are_gone(chat: Chat) -> None:
    await fill(chat)
    await chat.clear()

    assert (await chat.snapshot()).log.dedupe == "id"


async def test_a_keyed_pop_is_bounded_by_what_is_remembered_of_it(chat: Chat) -> None:
    size = MOST_REMEMBERED_BYTES // 2 - 12
    await chat.say("x" * (size + 1), "y" * size, "z" * size)
    before = tag_of((await chat.view()).session)
    with pytest.raises(TooLarge) as failure:
        await chat.pop(3, idempotency=keyed("large"))
    assert failure.value.limit == MOST_REMEMBERED_BYTES
    assert tag_of((await chat.view()).session) == before
    assert len((await chat.pop(2, idempotency=keyed("fits"))).messages) == 2


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4)),
        st.tuples(st.just("one"), st.integers(0, 14)),
        st.tuples(st.just("before"), st.integers(0, 14)),
        st.tuples(st.just("last"), st.integers(0, 4)),
        st.tuples(st.just("all"), st.just(0)),
    ),
    min_size=2,
    max_size=12,
)


@given(operations=OPERATIONS)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_removals_and_dedupe_agree_with_a_list(
    chat: Chat, operations: list[tuple[str, list[str] | int]]
) -> None:
    await chat.delete()
    await chat.put()
    log: list[Message] = []
    last = 0
    for name, argument in operations:
        if isinstance(argument, list):
            new = list(dict.fromkeys(argument))
            new = [text for text in new if text.encode() not in {m.data for m in log}]
            done = await chat.say_once(*argument)
            assert done.count == len(new)
            added = (Message(last + i, done.at_ms, t.encode()) for i, t in enumerate(new, 1))
            log += added
            last += len(new)
            continue
        gone = picked(log, name, argument)
        removal = Removal(cut=Cut(name), number=argument)
        removed = await chat.tier.remove(chat.ref, removal, UNCONDITIONAL)
        assert removed is not None
        assert removed.count == len(gone)
        assert removed.messages == (tuple(gone) if name == "last" else ())
        log = [message for message in log if message not in gone]
        assert removed.first_seq == (log[0].seq if log else None)
        assert removed.last_seq == (log[-1].seq if log else None)
        assert (await chat.page(Window(limit=100))).messages == tuple(log)


def picked(log: list[Message], name: str, number: int) -> list[Message]:
    match name:
        case "one":
            return [message for message in log if message.seq == number]
        case "before":
            return [message for message in log if message.seq < number]
        case "last":
            return log[len(log) - number :] if 0 < number <= len(log) else log[: number * len(log)]
        case _:
            return list(log)
