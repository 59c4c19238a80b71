"""Redis loses its memory: what was acknowledged is there again, as it was, before anybody reads."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from redis import Redis

from service.errors import PreconditionFailed, Unavailable
from service.model import Conditions, Value
from service.store.keys import session_keys
from service.writes import Idempotency, SettingsChange
from tests.polling import eventually
from tests.proxies import proxy
from tests.replaying import Process, patiently, process_of
from tests.servers import Flavour, Server, start_server
from tests.store_calls import CHAT, Chat, ref_of

FLAVOURS: tuple[Flavour, ...] = ("valkey", "redis62")


@pytest.fixture(scope="module", params=FLAVOURS)
def shared_forgetful(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run a server that has nothing left after its end."""
    with start_server(request.param, "--save", "") as server:
        yield server


@pytest.fixture
def forgetful(shared_forgetful: Server) -> Server:
    """Give that server empty."""
    empty(shared_forgetful)
    return shared_forgetful


def empty(server: Server) -> None:
    with Redis.from_url(server.url) as redis:
        redis.flushall()


@pytest.fixture
async def process(forgetful: Server) -> AsyncIterator[Process]:
    async with process_of(forgetful.url) as process:
        yield process


@pytest.fixture
async def three(forgetful: Server) -> AsyncIterator[list[Process]]:
    """Run three processes that know of each other."""
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(process_of(forgetful.url)) for _ in range(3)]
        for process in processes:
            await know_each_other(process, 3)
        yield processes


async def know_each_other(process: Process, count: int) -> None:
    await is_true(lambda: process.recovery.status.processes == count)


async def is_true(condition: Callable[[], bool]) -> None:
    async def look() -> bool:
        return condition()

    await eventually(look, bool)


def length(server: Server) -> int:
    """How many messages Redis holds of the chat."""
    with Redis.from_url(server.url) as redis:
        return int(redis.llen(session_keys(CHAT).log)) - 3


def lose_all(server: Server) -> None:
    server.kill()
    server.restart()


async def everything_of(chat: Chat) -> object:
    """All that a session is, its messages and values with their times and tags."""
    snapshot = await patiently(chat.snapshot)
    return snapshot.session, snapshot.elements, snapshot.values, snapshot.expiries, snapshot.ring


async def write_all_kinds(chat: Chat) -> None:
    await chat.put(SettingsChange(max_messages=50))
    await chat.say('{"n": 1}', '{"n": 2}')
    await chat.say_once("a", "b", None, idempotency=Idempotency(b"call", b"print"))
    await chat.say_once("b", "c")
    await chat.write({"k": b"1", "gone": b"2"}, key_ttl_ms=3_600_000)
    await chat.write({"raw": Value(b"\x00\xff", "image/png", is_json=False)}, deletes=["gone"])
    await chat.write(gets=["k"], sets={"p:1": b"1", "p:2": b"2"})
    await chat.delete_state("p:")
    await chat.pop(1)
    await chat.delete_one(2)
    await chat.trim(2)
    await chat.say(*(f'{{"n": {n}}}' for n in range(60)))


async def test_everything_is_as_it_was(forgetful: Server, process: Process) -> None:
    await write_all_kinds(process.chat())
    before = await everything_of(process.chat())
    lose_all(forgetful)
    assert await everything_of(process.chat()) == before
    assert process.counters["replayLostWrites"] == 0
    assert process.counters["replayedWrites"] == process.log.status.writes
    assert process.forgotten == [True]


async def test_without_a_log_it_is_lost(forgetful: Server) -> None:
    async with process_of(forgetful.url, budget_bytes=0) as process:
        await process.chat().say("1")
        lose_all(forgetful)
        assert await patiently(process.chat().is_absent)


async def test_a_refusal_that_is_remembered_is_still_known(
    forgetful: Server, process: Process
) -> None:
    call = Idempotency(b"call", b"print")
    first = await process.chat().say("1")
    only_anew = Conditions(if_none_match=(str(first.etag)[1:-1],))
    with pytest.raises(PreconditionFailed):
        await process.chat().say("2", idempotency=call, conditions=only_anew)
    await process.chat().say("3")
    lose_all(forgetful)
    await patiently(process.chat().view)
    with pytest.raises(PreconditionFailed) as again:
        await process.chat().say("2", idempotency=call, conditions=only_anew)
    assert again.value.is_replayed


async def test_a_copy_is_there_again(forgetful: Server, process: Process) -> None:
    await write_all_kinds(process.chat())
    await process.store.create(ref_of("fork"), await process.chat().snapshot())
    before = await everything_of(process.chat("fork"))
    lose_all(forgetful)
    assert await everything_of(process.chat("fork")) == before


async def test_a_write_too_large_for_the_log_says_so(forgetful: Server) -> None:
    async with process_of(forgetful.url, budget_bytes=400_000) as process:
        assert (await process.chat().say("1")).is_kept
        assert not (await process.chat().say(f'"{"x" * 200_000}"')).is_kept
        assert process.log.status.dropped == 1


async def test_a_keyed_call_is_still_known(forgetful: Server, process: Process) -> None:
    call = Idempotency(b"call", b"print")
    first = await process.chat().say("1", idempotency=call)
    lose_all(forgetful)
    again = await patiently(lambda: process.chat().say("1", idempotency=call))
    assert (again.etag, again.last_seq, again.replayed_rev) == (first.etag, 1, 1)


async def test_a_flushed_server_is_noticed_though_its_connection_holds(
    forgetful: Server, process: Process
) -> None:
    await process.chat().say("1")
    empty(forgetful)
    await is_true(lambda: process.counters["replays"] > 0)
    assert await patiently(process.chat().texts) == ["1"]


async def test_what_nobody_knows_of_closes_the_gap_that_it_left(forgetful: Server) -> None:
    """The answer to the second write is lost; the third is acknowledged, and follows it."""
    async with proxy(forgetful.port) as valve, process_of(valve.url) as process:
        chat = process.chat()
        await chat.say("1")
        valve.is_mute = True
        lost = asyncio.create_task(chat.say("2"))
        await is_true(lambda: length(forgetful) == 2)
        valve.cut()
        with pytest.raises(Unavailable):
            await lost
        valve.restore()
        await patiently(lambda: chat.say("3"))
        lose_all(forgetful)
        assert await patiently(chat.texts) == ["1", "2", "3"]
        assert process.counters["replayLostWrites"] == 0


async def test_a_repetition_that_was_acknowledged_is_kept(forgetful: Server) -> None:
    """Its first answer was lost, and it is the last write."""
    call = Idempotency(b"call", b"print")
    async with proxy(forgetful.port) as valve, process_of(valve.url) as process:
        chat = process.chat()
        await chat.say("1")
        valve.is_mute = True
        lost = asyncio.create_task(chat.say("2", idempotency=call))
        await is_true(lambda: length(forgetful) == 2)
        valve.cut()
        with pytest.raises(Unavailable):
            await lost
        valve.restore()
        told = await patiently(lambda: chat.say("2", idempotency=call))
        assert told.is_kept
        lose_all(forgetful)
        view = await patiently(chat.view)
        assert (view.session.etag, await chat.texts()) == (told.etag, ["1", "2"])


async def test_large_writes_keep_their_place(forgetful: Server, process: Process) -> None:
    for n in range(4):
        await process.chat().write({f"large-{n}": b'"%s"' % (b"x" * 150_000)})
        await process.chat().write({f"small-{n}": b"1"})
    before = await everything_of(process.chat())
    lose_all(forgetful)
    assert await everything_of(process.chat()) == before


async def test_nothing_takes_the_place_of_what_could_not_be_kept(forgetful: Server) -> None:
    async with process_of(forgetful.url, budget_bytes=400_000) as process:
        chat = process.chat()
        await chat.say("1")
        assert not (await chat.say(f'"{"x" * 200_000}"')).is_kept
        told = await chat.say("3")
        lose_all(forgetful)
        assert await patiently(chat.texts) == ["1"]
        assert (await chat.view()).session.etag.gen != told.etag.gen
        assert process.counters["replayLostWrites"] == 2


async def test_one_session_that_cannot_be_played_keeps_no_other_away(
    forgetful: Server, process: Process
) -> None:
    await process.chat("one").say("1")
    await process.chat("other").say("2")
    lose_all(forgetful)
    with Redis.from_url(forgetful.url) as redis:
        redis.set(session_keys(ref_of("one")).log, "somebody else's")
    assert await patiently(process.chat("other").texts) == ["2"]


async def test_a_full_redis_is_served(process: Process, forgetful: Server) -> None:
    await process.chat("lost").say(f'"{"x" * 10_000}"')
    forgetful.kill()
    forgetful.restart("--save", "", "--maxmemory", "100kb", "--maxmemory-policy", "noeviction")
    try:
        assert await patiently(process.chat("lost").is_absent)
        assert process.counters["replayLostWrites"] == 1
    finally:
        forgetful.restart("--save", "")


async def test_sessions_whose_time_was_over_are_not_missed(
    forgetful: Server, process: Process
) -> None:
    await process.chat().say("1", change=SettingsChange(ttl_ms=20))
    await asyncio.sleep(0.03)
    lose_all(forgetful)
    assert await patiently(process.chat().is_absent)
    assert process.counters["replayedWrites"] == process.counters["replayLostWrites"] == 0
    assert process.forgotten == []


async def test_who_ends_in_the_midst_is_not_waited_for(forgetful: Server) -> None:
    async with process_of(forgetful.url) as survivor:
        async with process_of(forgetful.url) as leaver:
            await know_each_other(survivor, 2)
            await leaver.chat("other").say("1")
            await survivor.chat().say("1")
            lose_all(forgetful)
        assert await patiently(survivor.chat().texts) == ["1"]


async def test_a_user_who_may_use_our_keys_alone_gets_his_writes_back(forgetful: Server) -> None:
    with Redis.from_url(forgetful.url) as redis:
        redis.execute_command("ACL", "SETUSER", "bot", "on", ">secret", "~b:*", "&*", "+@all")
        url = forgetful.url.replace("redis://", "redis://bot:secret@")
        async with process_of(url) as process:
            await process.chat().say("1")
            empty(forgetful)
            await is_true(lambda: process.counters["replays"] > 0)
            assert await patiently(process.chat().texts) == ["1"]
            redis.execute_command("ACL", "DELUSER", "bot")


async def test_what_was_deleted_stays_so(forgetful: Server, three: list[Process]) -> None:
    one, two, other = (process.chat() for process in three)
    await one.say("1")
    await two.say("2")
    await other.delete()
    lose_all(forgetful)
    assert await patiently(one.is_absent)
    assert [process.counters["replayLostWrites"] for process in three] == [0, 0, 0]


async def test_what_was_made_anew_takes_the_place_of_what_had_ended(
    forgetful: Server, three: list[Process]
) -> None:
    one, two, other = (process.chat() for process in three)
    await one.say("old", change=SettingsChange(ttl_ms=20))
    await asyncio.sleep(0.03)
    await two.say("new")
    await other.say("newer")
    lose_all(forgetful)
    assert await patiently(one.texts) == ["new", "newer"]
    assert [process.counters["replayLostWrites"] for process in three] == [0, 0, 0]


async def test_what_has_run_out_meanwhile_is_not_there(forgetful: Server, process: Process) -> None:
    await process.chat().say("1", change=SettingsChange(ttl_ms=20))
    await process.chat("other").say("1")
    await asyncio.sleep(0.03)
    lose_all(forgetful)
    assert await patiently(process.chat().is_absent)
    assert not await process.chat("other").is_absent()


async def test_a_life_that_was_renewed_alone_is_renewed(
    forgetful: Server, process: Process
) -> None:
    await process.chat().say("1")
    await asyncio.sleep(0.01)
    touched = await process.chat().change()
    assert touched is not None
    lose_all(forgetful)
    view = await patiently(process.chat().view)
    assert view.session == touched.session


async def test_a_renewal_through_another_process_counts(
    forgetful: Server, three: list[Process]
) -> None:
    one, two, other = (process.chat() for process in three)
    await one.say("1")
    await asyncio.sleep(0.01)
    touched = await two.change()
    assert touched is not None
    lose_all(forgetful)
    assert (await patiently(other.view)).session == touched.session


async def test_a_chat_through_several_processes_is_put_together(
    forgetful: Server, three: list[Process]
) -> None:
    chats = [process.chat(name) for name in ("a", "b") for process in three]
    for turn in range(30):
        await chats[turn * 7 % len(chats)].say(f'{{"n": {turn}}}')
    before = [await everything_of(chat) for chat in chats]
    lose_all(forgetful)
    assert await asyncio.gather(*map(everything_of, chats)) == before
    assert [process.counters["replayLostWrites"] for process in three] == [0, 0, 0]


async def test_nobody_is_served_before_all_have_come(
    forgetful: Server, three: list[Process]
) -> None:
    """Who knows nothing of a chat would find it absent, and make another."""
    writer, _, reader = three
    for n in range(200):
        await writer.chat(f"chat-{n}").say("1")
    lose_all(forgetful)
    assert await patiently(reader.chat("chat-199").texts) == ["1"]


async def test_a_newcomer_is_known_before_he_writes(forgetful: Server, process: Process) -> None:
    before = process.recovery.status.processes
    async with process_of(forgetful.url) as newcomer:
        await know_each_other(process, before + 1)
        await newcomer.chat().say("1")
        lose_all(forgetful)
        assert await patiently(process.chat().texts) == ["1"]


async def test_who_does_not_come_back_is_waited_for_and_missed(
    forgetful: Server, process: Process
) -> None:
    """Each of those who live counts what of its own is lost, and no more."""
    async with process_of(forgetful.url) as survivor:
        async with process_of(forgetful.url) as victim:
            await know_each_other(survivor, 3)
            await know_each_other(process, 3)
            await victim.chat().say("1")
            await survivor.chat().say("2")
            first = await survivor.chat().view()
            for writer in (survivor, process, survivor, process, victim, process):
                await writer.chat("long").say("1")
            forgetful.kill()
        forgetful.restart()
        assert await patiently(survivor.chat().is_absent)
        assert len(await patiently(process.chat("long").texts)) == 4
        assert survivor.recovery.status.lost_writes == 1
        assert process.recovery.status.lost_writes == 1
        assert survivor.counters["replayMissingProcesses"] == 1
        assert (await survivor.chat().say("3")).etag.gen != first.session.etag.gen
