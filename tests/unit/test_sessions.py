"""The use cases over a real Redis: memory says what Redis says, however calls overlap."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.codec import digest
from service.errors import ServiceError, Unavailable
from service.model import (
    ETag,
    Freshness,
    Page,
    Reading,
    Span,
    StateKey,
    StatePart,
    Touch,
    View,
    Window,
)
from service.writes import Cut, Removal, SettingsChange, StateWrite
from tests.servers import Server
from tests.store_calls import UNCONDITIONAL, Chat, ref_of, writing
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


# What is held


async def test_what_is_held_is_revalidated_and_not_sent_again(parts: Parts) -> None:
    await parts.chat.say("1", "2")
    first = await parts.chat.view(LAST)
    second = await parts.chat.view(LAST)

    assert first.page == second.page
    assert parts.hot.status.hits == 2
    assert parts.hot.status.misses == 0


async def test_a_write_of_another_process_is_seen(parts: Parts) -> None:
    await parts.chat.say("1")
    await parts.elsewhere.say("2")

    assert await parts.chat.texts() == ["1", "2"]
    assert parts.hot.status.misses == 1


async def test_a_session_that_another_process_deleted_is_absent(parts: Parts) -> None:
    await parts.chat.say("1")
    await parts.elsewhere.delete()

    assert await parts.chat.is_absent()
    assert parts.hot.get(REF) is None


async def test_a_write_without_effect_on_an_absent_session_forgets_it(parts: Parts) -> None:
    nothing = writing(deletes=["a"])
    for call in (
        parts.chat.change(),
        parts.sessions.write_state(REF, nothing, UNCONDITIONAL),
        parts.sessions.delete_state(REF, "", UNCONDITIONAL),
        parts.sessions.remove(REF, Removal(cut=Cut.ALL), UNCONDITIONAL),
    ):
        await parts.elsewhere.say("1")
        await parts.chat.view()
        await parts.elsewhere.delete()
        await call
        assert parts.hot.get(REF) is None


async def test_memory_follows_each_kind_of_write(parts: Parts) -> None:
    reading = Reading(window=Window(limit=50, max_bytes=100), state=StatePart.ALL)
    await parts.chat.say_once("a", "b", "c")
    await parts.chat.write({"a1": b"1", "a2": b"2"}, key_ttl_ms=60_000)
    await parts.chat.write({"b": b"3"}, merges={"a1": b'{"x":1}'})
    for call in (
        parts.chat.delete_state("a2"),
        parts.chat.replace("x", "y"),
        parts.chat.replace_once("z"),
        parts.chat.say("1"),
        parts.chat.delete_state("nothing"),
        parts.chat.replace(),
        parts.chat.delete_state(),
    ):
        await call
        held = parts.hot.get(REF)
        assert held is not None
        view = held.view(reading, parts.clock.monotonic())
        assert view is not None
        assert content(view) == content(await parts.store.read(REF, reading))


async def test_memory_reads_anew_which_messages_a_removal_left(parts: Parts) -> None:
    await parts.chat.say("1", "2", "3")
    for call in (parts.chat.delete_one(2), parts.chat.pop(1)):
        await call
        held = parts.hot.get(REF)
        assert held is not None
        assert held.view(LAST, parts.clock.monotonic()) is None
        assert await parts.chat.texts() == await parts.elsewhere.texts()
    await parts.chat.clear()
    parts.store.calls.clear()
    held = parts.hot.get(REF)
    assert held is not None
    view = held.view(LAST, parts.clock.monotonic())
    assert view is not None
    assert view.page == Page()


async def test_no_cache_always_asks_for_everything(parts: Parts) -> None:
    await parts.chat.say("1")
    view = await parts.sessions.read(REF, LAST, NO_CACHE)

    assert view is not None
    assert view.page is not None
    assert len(view.page.messages) == 1


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


# Everything at once

KEYS = st.sampled_from("abc")
CHANGES = st.sampled_from(
    [
        SettingsChange(),
        SettingsChange(max_messages=2),
        SettingsChange(max_messages=50),
        SettingsChange(ttl_ms=60_000, touch=Touch.ACCESS),
    ]
)
OPERATIONS = st.one_of(
    st.tuples(st.just("say"), st.lists(st.sampled_from(["1", "22"]), min_size=1, max_size=4)),
    st.tuples(st.just("say_once"), st.lists(KEYS, min_size=1, max_size=3)),
    st.tuples(st.just("set"), st.dictionaries(KEYS, st.sampled_from([b"1", b"22"]), max_size=2)),
    st.tuples(st.just("unset"), st.lists(KEYS, min_size=1, max_size=2)),
    st.tuples(st.just("set for a minute"), st.dictionaries(KEYS, st.just(b"333"), min_size=1)),
    st.tuples(st.just("unset by prefix"), st.sampled_from(["", "a", "z"])),
    st.tuples(st.just("replace"), st.lists(st.sampled_from(["1", "22"]), max_size=2)),
    st.tuples(st.just("replace_once"), st.lists(KEYS, max_size=2)),
    st.tuples(st.just("pop"), st.integers(0, 3)),
    st.tuples(st.just("one"), st.integers(1, 8)),
    st.tuples(st.just("before"), st.integers(1, 8)),
    st.tuples(st.just("all"), st.just(0)),
    st.tuples(st.just("put"), CHANGES),
    st.tuples(st.just("change"), CHANGES),
    st.tuples(st.just("delete"), st.none()),
)
PATCHES = st.dictionaries(KEYS, st.sampled_from([b'{"x":1}', b'{"x":null}']), min_size=1)
MERGES = st.tuples(st.just("merge"), PATCHES)
"""May be several calls."""
WINDOWS = st.builds(
    Window,
    limit=st.integers(0, 6),
    newest=st.booleans(),
    after=st.none() | st.integers(0, 9),
    before=st.none() | st.integers(0, 9),
    digest=st.just(b"") | st.just(digest("a")),
    max_bytes=st.none() | st.integers(0, 9),
)
READINGS = st.builds(
    Reading,
    window=st.none() | WINDOWS,
    state=st.sampled_from([StatePart.NONE, StatePart.NAMES, StatePart.ALL]),
) | st.builds(
    Reading,
    state=st.just(StatePart.SOME),
    keys=st.lists(KEYS.map(StateKey), min_size=1, unique=True).map(tuple),
)
STEPS = st.lists(
    st.tuples(OPERATIONS | MERGES, st.sampled_from(["here", "here", "here", "elsewhere"]))
    | READINGS,
    min_size=1,
    max_size=14,
)
QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PROBES = [
    Reading(),
    Reading(window=Window(limit=0)),
    Reading(window=Window(limit=2)),
    Reading(window=Window(limit=50), state=StatePart.ALL),
    Reading(window=Window(limit=3, newest=False, after=2)),
    Reading(window=Window(limit=3, before=4), state=StatePart.NAMES),
    Reading(state=StatePart.SOME, keys=(StateKey("a"), StateKey("c"))),
]


async def write(chat: Chat, write: StateWrite) -> object:
    return await chat.tier.write_state(REF, write, UNCONDITIONAL)


async def remove(chat: Chat, cut: Cut, number: int) -> object:
    return await chat.tier.remove(REF, Removal(cut=cut, number=number), UNCONDITIONAL)


CALLS: dict[str, Callable[[Chat, Any], Coroutine[Any, Any, object]]] = {
    "say": lambda chat, texts: chat.say(*texts),
    "say_once": lambda chat, ids: chat.say_once(*ids),
    "replace": lambda chat, texts: chat.replace(*texts),
    "replace_once": lambda chat, ids: chat.replace_once(*ids),
    "pop": lambda chat, count: remove(chat, Cut.LAST, count),
    "one": lambda chat, seq: remove(chat, Cut.ONE, seq),
    "before": lambda chat, seq: remove(chat, Cut.BEFORE, seq),
    "all": lambda chat, _: remove(chat, Cut.ALL, 0),
    "set": lambda chat, sets: write(chat, writing(sets, gets=["a"])),
    "set for a minute": lambda chat, sets: write(chat, writing(sets, key_ttl_ms=60_000)),
    "unset": lambda chat, keys: write(chat, writing(deletes=keys)),
    "unset by prefix": lambda chat, text: chat.tier.delete_state(REF, text, UNCONDITIONAL),
    "merge": lambda chat, patches: write(chat, writing(merges=patches)),
    "put": lambda chat, change: chat.put(change),
    "change": lambda chat, change: chat.change(change),
    "delete": lambda chat, _: chat.delete(),
}


def content(view: View | None) -> View | None:
    """Leave out what may differ: the time, when it was last renewed, how things are held."""
    if view is None:
        return None
    session = replace(view.session, renewed_at_ms=0)
    page = view.page
    if page is not None:
        lines = page.lines[page.span.start : page.span.end]
        page = replace(page, lines=lines, span=Span(0, page.count))
    same = replace(view, session=session, now_ms=0, age_seconds=None, is_same=False)
    return replace(same, page=page, elements=(), packed={})


async def check_hot(parts: Parts) -> None:
    """Check that whatever memory would answer at its revision is what Redis answers."""
    held = parts.hot.get(REF)
    for reading in PROBES:
        truth = await parts.store.read(REF, reading)
        assert content(await parts.sessions.read(REF, reading)) == content(truth)
        if held is None or truth is None or held.session.etag != truth.session.etag:
            continue
        answer = held.view(reading, parts.clock.monotonic())
        assert answer is None or content(answer) == content(truth)


@given(steps=STEPS, is_probed=st.booleans())
@QUICK
async def test_memory_says_what_redis_says_whatever_was_done(
    parts: Parts, *, steps: list[Any], is_probed: bool
) -> None:
    await parts.chat.delete()
    for step in steps:
        if isinstance(step, Reading):
            truth = await parts.store.read(REF, step)
            assert content(await parts.sessions.read(REF, step)) == content(truth)
            continue
        (name, argument), place = step
        await CALLS[name](parts.chat if place == "here" else parts.elsewhere, argument)
        if is_probed:
            await check_hot(parts)
    await check_hot(parts)
    assert not parts.hot._fills


@given(
    operations=st.lists(
        st.one_of(OPERATIONS, st.tuples(st.just("read"), st.sampled_from(PROBES))),
        min_size=2,
        max_size=6,
    ),
    seed=st.integers(0, 1_000_000),
)
@QUICK
async def test_memory_is_never_behind_an_acknowledged_write_however_replies_overtake(
    parts: Parts, *, operations: list[tuple[str, Any]], seed: int
) -> None:
    order = Random(seed)
    parts.store.release()
    await parts.chat.delete()
    tasks: list[asyncio.Task[object]] = []
    etags: list[ETag | None] = []
    replies: list[asyncio.Event] = []
    acknowledged = -1

    async def release_one() -> None:
        nonlocal acknowledged
        index = order.choice([i for i, reply in enumerate(replies) if not reply.is_set()])
        replies[index].set()
        await asyncio.wait([tasks[index]])
        if operations[index][0] != "read":
            acknowledged = max(acknowledged, index)
        held = parts.hot.get(REF)
        assert held is None or held.session.etag in etags[max(0, acknowledged) :]

    for name, argument in operations:
        if order.random() < 0.3 and not all(reply.is_set() for reply in replies):
            await release_one()
        parts.store.is_holding = True
        if name == "read":
            call: Coroutine[Any, Any, object] = parts.sessions.read(REF, argument, NO_CACHE)
        else:
            call = CALLS[name](parts.chat, argument)
        tasks.append(start(call))
        await parts.store.reach(1)
        replies.append(parts.store.held.pop())
        parts.store.is_holding = False
        truth = await parts.store.read(REF, SESSION)
        etags.append(truth.session.etag if truth else None)
    while not all(reply.is_set() for reply in replies):
        await release_one()
    for task in tasks:
        with suppress(ServiceError):
            await task
    await check_hot(parts)


async def test_a_key_is_gone_when_the_clock_of_redis_says_so(parts: Parts) -> None:
    await parts.chat.write({"a": b"1"}, key_ttl_ms=60_000)
    parts.clock.ahead_seconds = 3_600

    view = await parts.chat.view(ONE_VALUE)
    assert view.values[StateKey("a")] is not None
