"""Read-through: equal cold reads are one, and what memory may answer while Redis is away."""

import asyncio
from contextlib import suppress

import pytest
from msgspec.structs import replace

from service.errors import Unavailable
from service.hot import Fill
from service.model import (
    Freshness,
    Reading,
    StateKey,
    StatePart,
    View,
    Window,
)
from service.reads import _Flight
from service.writes import SettingsChange
from tests.servers import Server
from tests.store_calls import ref_of
from tests.use_cases import REF, Parts, build, shut_out, start

A_MINUTE = Freshness(stale_if_error_seconds=60)
NO_CACHE = Freshness(no_cache=True)
SESSION = Reading()
LAST = Reading(window=Window(limit=3))
ONE_VALUE = Reading(state=StatePart.SOME, keys=(StateKey("a"),))


# One reader and another


async def test_equal_cold_reads_are_one_call(parts: Parts) -> None:
    await parts.elsewhere.say("1")
    parts.store.is_holding = True
    reads = [start(parts.sessions.read(REF, LAST)) for _ in range(20)]
    await parts.store.reach(1)
    reads += [start(parts.sessions.read(REF, LAST)) for _ in range(20)]
    await asyncio.sleep(0.005)
    parts.store.release()
    views = await asyncio.gather(*reads)

    assert parts.store.calls["read"] == 1
    assert all(view == views[0] for view in views)


async def test_cold_reads_of_other_things_are_not_shared(parts: Parts) -> None:
    await parts.elsewhere.say("1")
    await asyncio.gather(*(parts.sessions.read(REF, r) for r in (LAST, ONE_VALUE, SESSION)))

    assert parts.store.calls["read"] == 3


async def test_the_next_cold_read_is_a_new_call(parts: Parts) -> None:
    assert await parts.sessions.read(REF, LAST) is None
    assert await parts.sessions.read(REF, LAST) is None

    assert parts.store.calls["read"] == 2
    assert not parts.sessions._reads._flights


async def test_a_read_does_not_join_one_that_began_before_an_acknowledged_write(
    parts: Parts,
) -> None:
    await parts.elsewhere.say("1")
    parts.store.is_holding = True
    early = start(parts.sessions.read(REF, LAST))
    await parts.store.reach(1)
    held, parts.store.held = parts.store.held, []
    parts.store.is_holding = False
    await parts.chat.say("2")
    async with asyncio.timeout(5):
        late = await parts.chat.view(LAST)
    held[0].set()
    early_view = await early

    assert late.page is not None
    assert [message.data for message in late.page.messages] == [b"1", b"2"]
    assert isinstance(early_view, View)
    assert early_view.session.message_count == 1
    kept = parts.hot.get(REF)
    assert kept is not None
    assert kept.session.message_count == 2


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_read_does_not_join_one_that_could_miss_what_was_changed(
    parts: Parts, *, is_told: bool
) -> None:
    parts.store.is_holding = True
    early = start(parts.sessions.read(REF, LAST))
    await parts.store.reach(1)
    flight = next(iter(parts.sessions._reads._flights.values()))
    if is_told:
        parts.hot.invalidate([REF])  # another process has written
    else:
        flight.fill.is_spoiled = True  # this one has
    late = start(parts.sessions.read(REF, LAST))
    await parts.store.reach(2)
    parts.store.release()
    await asyncio.gather(early, late)

    assert parts.store.calls["read"] == 2


async def test_a_read_does_not_join_one_that_has_come_back(parts: Parts) -> None:
    await parts.sessions.read(REF, LAST)
    over: asyncio.Task[View | None] = asyncio.create_task(asyncio.sleep(0, None))
    await over
    parts.sessions._reads._flights[REF, LAST] = _Flight(over, Fill())
    await parts.sessions.read(REF, LAST)

    assert parts.store.calls["read"] == 2


async def test_a_caller_that_gives_up_does_not_fail_the_others(parts: Parts) -> None:
    await parts.elsewhere.say("1")
    parts.store.is_holding = True
    first, second = (start(parts.sessions.read(REF, LAST)) for _ in range(2))
    await parts.store.reach(1)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    parts.store.release()

    assert isinstance(await second, View)
    assert parts.store.calls["read"] == 1


async def test_a_failed_read_fails_all_who_wait_and_is_not_kept(own_server: Server) -> None:
    shut_out(own_server)
    parts, link = build(own_server.url)
    reads = [start(parts.sessions.read(REF, LAST)) for _ in range(3)]
    results = await asyncio.gather(*reads, return_exceptions=True)

    await link.aclose()
    assert all(isinstance(result, Unavailable) for result in results)
    assert not parts.sessions._reads._flights
    assert not parts.hot._fills


async def test_a_failed_read_that_everyone_left_is_no_unseen_error(own_server: Server) -> None:
    shut_out(own_server)
    parts, link = build(own_server.url)
    read = start(parts.sessions.read(REF, LAST))
    await asyncio.sleep(0)
    flight = next(iter(parts.sessions._reads._flights.values()))
    read.cancel()
    await asyncio.wait([flight.task])
    await link.aclose()

    assert not parts.sessions._reads._flights


async def test_a_flight_that_is_ended_with_the_loop_is_no_unseen_error(parts: Parts) -> None:
    await parts.elsewhere.say("1")
    parts.store.is_holding = True
    read = start(parts.sessions.read(REF, LAST))
    await parts.store.reach(1)
    next(iter(parts.sessions._reads._flights.values())).task.cancel()
    with suppress(asyncio.CancelledError):
        await read

    assert not parts.sessions._reads._flights
    assert not parts.hot._fills


# An outage


async def test_an_outage_is_answered_from_memory_to_those_who_accept_it(
    own_server: Server,
) -> None:
    parts, link = build(own_server.url)
    await parts.chat.say("1", "2")
    shut_out(own_server)
    parts.clock.ahead_seconds = 10

    view = await parts.sessions.read(REF, LAST, A_MINUTE)
    assert view is not None
    assert view.page is not None
    assert [message.data for message in view.page.messages] == [b"1", b"2"]
    assert view.age_seconds is not None
    assert 10 <= view.age_seconds < 15
    await link.aclose()


async def test_an_outage_is_told_where_memory_may_not_answer(own_server: Server) -> None:
    parts, link = build(own_server.url)
    await parts.chat.say("1", change=SettingsChange(ttl_ms=30_000))
    await parts.elsewhere.write({"a": b"1"})
    await parts.chat.view(SESSION)  # so the state is not known
    await parts.chat.view(LAST)
    shut_out(own_server)

    with_cases = [
        (LAST, Freshness(), 0, REF),
        (LAST, NO_CACHE, 0, REF),
        (LAST, replace(A_MINUTE, no_cache=True), 0, REF),
        (LAST, Freshness(stale_if_error_seconds=5), 6, REF),
        (ONE_VALUE, A_MINUTE, 0, REF),
        (LAST, A_MINUTE, 31, REF),
        (LAST, A_MINUTE, 0, ref_of("other")),
    ]
    for reading, freshness, ahead_seconds, ref in with_cases:
        parts.clock.ahead_seconds = ahead_seconds
        with pytest.raises(Unavailable):
            await parts.sessions.read(ref, reading, freshness)
    parts.clock.ahead_seconds = 20
    assert await parts.sessions.read(REF, LAST, A_MINUTE) is not None
    await link.aclose()


async def test_an_entry_does_not_outlive_its_session_by_the_time_a_reply_takes(
    parts: Parts,
) -> None:
    parts.store.is_holding = True
    write = start(parts.chat.say("1", change=SettingsChange(ttl_ms=30_000)))
    await parts.store.reach(1)
    parts.clock.ahead_seconds = 29
    parts.store.release()
    await write

    held = parts.hot.get(REF)
    assert held is not None
    assert held.has_expired(parts.clock.monotonic() + 1.5)


async def test_a_retry_that_finds_its_work_done_is_an_acknowledgement(own_server: Server) -> None:
    parts, link = build(own_server.url)
    await parts.chat.say_once("a")
    parts.store.is_holding = True
    lost = start(parts.chat.say_once("b"))
    await parts.store.reach(1)
    lost.cancel()
    parts.store.release()
    assert (await parts.chat.say_once("b")).duplicates == (0,)
    shut_out(own_server)

    with pytest.raises(Unavailable):  # rather than "b" is missing
        await parts.sessions.read(REF, LAST, A_MINUTE)
    await link.aclose()
