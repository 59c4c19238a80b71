"""Copying a session: a consistent snapshot, then one call that makes the other."""

import asyncio

import pytest

from service.errors import Conflict, PreconditionFailed
from service.model import ANY, Conditions, SessionRef, Snapshot
from tests.store_calls import UNCONDITIONAL, Chat, matching, not_matching, ref_of, tag_of
from tests.use_cases import REF, Parts, start

COPY = ref_of("copy")


async def test_a_copy_holds_what_its_source_does(parts: Parts) -> None:
    await parts.elsewhere.say_once("a", "b")
    await parts.elsewhere.write({"k": b"1"})
    done = await parts.sessions.copy(REF, COPY, UNCONDITIONAL)
    other = Chat(parts.sessions, COPY)

    assert done is not None
    assert (await other.view()).session == done.session
    assert await other.texts() == ["a", "b"]
    assert await other.state() == {"k": b"1"}
    assert parts.store.calls["create"] == 1


async def test_there_is_no_copy_of_nothing(parts: Parts) -> None:
    assert await parts.sessions.copy(REF, COPY, UNCONDITIONAL) is None
    assert await Chat(parts.store, COPY).is_absent()


async def test_a_condition_means_the_source(parts: Parts) -> None:
    tag = tag_of((await parts.chat.say("1")).session)
    for guard in (matching("other-1"), not_matching(tag), not_matching(ANY)):
        with pytest.raises(PreconditionFailed) as failure:
            await parts.sessions.copy(REF, COPY, guard)
        assert failure.value.etag == f'"{tag}"'
    assert await Chat(parts.store, COPY).is_absent()

    both = Conditions(if_match=(tag,), if_none_match=("other-1",))
    assert await parts.sessions.copy(REF, COPY, both) is not None


async def test_a_target_that_exists_is_a_conflict(parts: Parts) -> None:
    await parts.chat.say("1")
    await Chat(parts.store, COPY).say("other")
    for target in (COPY, REF):
        with pytest.raises(Conflict):
            await parts.sessions.copy(REF, target, UNCONDITIONAL)

    assert await Chat(parts.sessions, COPY).texts() == ["other"]


async def test_a_copy_onto_itself_makes_no_session_though_it_was_deleted_meanwhile(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await parts.chat.say("1")
    snapshot = parts.store.snapshot

    async def and_delete(ref: SessionRef) -> Snapshot | None:
        taken = await snapshot(ref)
        await parts.elsewhere.delete()
        return taken

    monkeypatch.setattr(parts.store, "snapshot", and_delete)
    with pytest.raises(Conflict):
        await parts.sessions.copy(REF, REF, UNCONDITIONAL)
    assert await parts.elsewhere.is_absent()


async def test_memory_forgets_what_it_knew_of_the_target(parts: Parts) -> None:
    other = Chat(parts.sessions, COPY)
    await parts.chat.say("1")
    await other.say("old")
    await Chat(parts.other, COPY).delete()
    await parts.sessions.copy(REF, COPY, UNCONDITIONAL)

    assert parts.hot.get(COPY) is None
    assert await other.texts() == ["1"]


async def test_a_read_that_began_before_does_not_say_that_there_is_no_copy(parts: Parts) -> None:
    await parts.chat.say("1")
    other = Chat(parts.sessions, COPY)
    parts.store.is_holding = True
    early = start(other.is_absent())
    await parts.store.reach(1)
    held, parts.store.held = parts.store.held, []
    parts.store.is_holding = False
    await parts.sessions.copy(REF, COPY, UNCONDITIONAL)
    async with asyncio.timeout(5):
        late = await other.texts()
    held[0].set()

    assert await early
    assert late == ["1"]
    assert parts.hot.get(COPY) is not None
