"""The use cases over a real Redis: memory says what Redis says, however calls overlap."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.codec import digest
from service.errors import ServiceError
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
from tests.store_calls import UNCONDITIONAL, Chat, writing
from tests.use_cases import REF, Parts, start

NO_CACHE = Freshness(no_cache=True)
SESSION = Reading()
LAST = Reading(window=Window(limit=3))
ONE_VALUE = Reading(state=StatePart.SOME, keys=(StateKey("a"),))


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
