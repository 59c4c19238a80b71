"""Backups: whose state was written is copied a while later, whatever the servers do meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis import Redis

from service import archive, archiving, backups
from service.archive import Damaged
from service.backups import (
    EARLIER_MS,
    MOST_SECONDS,
    QUIET_SECONDS,
    RETRY_SECONDS,
    BackupPolicy,
    Backups,
)
from service.errors import (
    Conflict,
    NotFound,
    Outcome,
    StoreFull,
    Unavailable,
    Unprocessable,
)
from service.hot import HotTier
from service.model import Limits, Reading
from service.sealing import Sealer
from service.sessions import Sessions
from service.store import BackupStore, Link, RedisTarget
from service.store.keys import backup_key, session_keys
from service.writes import SettingsChange
from tests.polling import eventually
from tests.servers import Server, start_server
from tests.store_calls import CHAT, UNCONDITIONAL, Chat, keyed, ref_of
from tests.use_cases import HeldStore, StepClock, shut_out

NEVER = SettingsChange(ttl_ms=0)


@dataclass(slots=True)
class Scene:
    """A session through the use cases, and what copies its state."""

    store: HeldStore
    backups: Backups
    copies: BackupStore
    sessions: Sessions
    hot: HotTier
    clock: StepClock
    redis: Redis
    is_full: bool = field(default=False)

    @property
    def chat(self) -> Chat:
        return Chat(self.sessions)

    async def pass_by(self, seconds: float = QUIET_SECONDS) -> None:
        """Let so much time pass, then let the copies be made that are due."""
        self.clock.ahead_seconds += seconds
        await self.backups.copy_due()

    def lose(self) -> None:
        self.redis.delete(*session_keys(CHAT))
        self.hot.deleted(CHAT)

    async def restored(self, *, replaces: bool = False) -> dict[str, bytes]:
        await self.backups.restore(CHAT, UNCONDITIONAL, replaces=replaces)
        return await self.chat.state()

    def counts(self) -> tuple[int, ...]:
        """How many copies were written, skipped, and have failed."""
        return tuple(self.backups.counters.values())


def build(link: Link, copies: BackupStore, redis: Redis, *, enabled: bool = True) -> Scene:
    store, hot, clock = HeldStore(link), HotTier(1_000_000), StepClock()
    policy = BackupPolicy(
        enabled=enabled,
        is_full=lambda: built.is_full,
        settle=lambda ref: sessions.journal.settle(ref),  # noqa: PLW0108 # it is made below
    )
    kept = Backups(store, copies, hot, clock, policy)
    sealer = Sealer(store, hot, clock)
    sessions = Sessions(store, hot, sealer, clock, Limits(), backups=kept)
    built = Scene(store, kept, copies, sessions, hot, clock, redis)
    return built


@pytest.fixture(scope="module")
def valkey() -> Iterator[Server]:
    """Run one flavour: tests/contract/test_backups.py has both."""
    with start_server("valkey") as server:
        yield server


@pytest.fixture
def redis(valkey: Server) -> Iterator[Redis]:
    with Redis.from_url(valkey.url) as client:
        client.flushall()
        yield client


@pytest.fixture
async def link(valkey: Server) -> AsyncIterator[Link]:
    link = Link(RedisTarget(url=valkey.url))
    yield link
    await link.aclose()


@pytest.fixture
def scene(link: Link, redis: Redis) -> Scene:
    """Give copies beside the sessions."""
    return build(link, BackupStore(link, is_elsewhere=False), redis)


@pytest.fixture
async def apart(link: Link, redis: Redis, own_server: Server) -> AsyncIterator[Scene]:
    """Give copies on a server of their own."""
    other = Link(RedisTarget(url=own_server.url))
    scene = build(link, BackupStore(other, is_elsewhere=True), redis)
    await scene.copies.look()
    yield scene
    await other.aclose()


async def is_copied(scene: Scene) -> bool:
    return await scene.backups.find(CHAT) is not None


# --- When ----------------------------------------------------------------------------------------


async def test_state_is_copied_when_it_has_been_quiet_for_a_while(scene: Scene) -> None:
    await scene.chat.write({"a": b"1"})
    await scene.pass_by(QUIET_SECONDS - 1)
    await scene.chat.write({"a": b"2"})
    await scene.pass_by(QUIET_SECONDS - 1)
    assert not await is_copied(scene)
    await scene.pass_by(1)
    assert await is_copied(scene)
    reads = scene.store.calls["read"]
    await scene.pass_by(1_000)

    assert scene.store.calls["read"] == reads
    assert scene.counts() == (1, 0, 0)
    scene.lose()
    assert await scene.restored() == {"a": b"2"}


async def test_constant_writes_do_not_postpone_it_for_ever(scene: Scene) -> None:
    for number in range(int(MOST_SECONDS) // 2):
        await scene.chat.write({"a": b"%d" % number})
        await scene.pass_by(2)

    assert scene.counts() == (1, 0, 0)


STATE_WRITES: dict[str, Callable[[Chat], Coroutine[Any, Any, object]]] = {
    "set": lambda chat: chat.write({"a": b"2"}),
    "delete": lambda chat: chat.write(deletes=["a"]),
    "merge": lambda chat: chat.write(merges={"o": b'{"x":1}'}),
    "delete by prefix": lambda chat: chat.delete_state("a"),
    "settings": lambda chat: chat.change(SettingsChange(ttl_ms=1_000_000)),
    "settings by a batch": lambda chat: chat.write(change=SettingsChange(max_messages=5)),
    "repetition": lambda chat: chat.write({"a": b"1"}, idempotency=keyed()),
}
OTHER_CALLS: dict[str, Callable[[Chat], Coroutine[Any, Any, object]]] = {
    "append": lambda chat: chat.say("{}"),
    "pop": lambda chat: chat.pop(1),
    "touch": lambda chat: chat.change(),
    "get": lambda chat: chat.write(gets=["a"]),
    "delete of nothing": lambda chat: chat.write(deletes=["x"]),
    "read": lambda chat: chat.view(),
    "settings without state": lambda chat: Chat(chat.tier, ref_of("empty")).put(NEVER),
}


@pytest.mark.parametrize("does", STATE_WRITES)
async def test_what_changes_state_or_settings_is_followed(scene: Scene, does: str) -> None:
    await scene.chat.write({"a": b"1", "o": b"{}"}, idempotency=keyed())
    await scene.pass_by()
    await STATE_WRITES[does](scene.chat)

    assert list(scene.backups._waiting) == [CHAT]


@pytest.mark.parametrize("does", OTHER_CALLS)
async def test_what_changes_neither_is_not(scene: Scene, does: str) -> None:
    await scene.chat.write({"a": b"1"})
    await scene.chat.say("{}")
    await scene.pass_by()
    await OTHER_CALLS[does](scene.chat)

    assert list(scene.backups._waiting) == []


async def test_the_copy_of_a_session_is_copied_too(scene: Scene) -> None:
    await scene.chat.write({"a": b"1"})
    await scene.sessions.copy(CHAT, ref_of("fork"), UNCONDITIONAL)

    assert list(scene.backups._waiting) == [CHAT, ref_of("fork")]


async def test_what_may_have_been_written_is_followed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scene.store._run
    for outcome, expected in ((Outcome.NOT_APPLIED, []), (Outcome.UNKNOWN, [CHAT])):

        async def lost(*args: Any, outcome: Outcome = outcome) -> None:  # noqa: ANN401
            await run(*args)
            raise Unavailable("the reply was lost", outcome=outcome)

        monkeypatch.setattr(scene.store, "_run", lost)
        with pytest.raises(Unavailable):
            await scene.chat.write({"a": b"1"})
        assert list(scene.backups._waiting) == expected


async def test_what_is_written_during_a_copy_is_copied_again(scene: Scene) -> None:
    await scene.chat.write({"a": b"1"})
    scene.store.is_holding = True
    scene.clock.ahead_seconds += QUIET_SECONDS
    due = asyncio.create_task(scene.backups.copy_due())
    await scene.store.reach(1)
    scene.store.is_holding = False
    await scene.chat.write({"a": b"2"})
    scene.store.release()
    await due
    assert list(scene.backups._waiting) == [CHAT]
    await scene.pass_by()

    assert scene.counts() == (2, 0, 0)
    assert await scene.restored(replaces=True) == {"a": b"2"}


# --- Whose ---------------------------------------------------------------------------------------


async def test_state_that_is_gone_takes_its_copy_along(scene: Scene) -> None:
    await scene.chat.write({"a": b"1", "b": b"2"})
    await scene.pass_by()
    await scene.chat.write(deletes=["a"])
    await scene.pass_by()
    found = await scene.backups.find(CHAT)
    assert found is not None
    assert found.keys == 1
    await scene.chat.delete_state()
    await scene.pass_by()

    assert not scene.redis.exists(backup_key(CHAT))
    assert scene.counts() == (2, 0, 0)


async def test_who_cannot_expire_has_no_copy_in_the_same_redis(scene: Scene) -> None:
    await scene.chat.write({"a": b"1"}, change=NEVER)
    await scene.pass_by()
    await scene.chat.write({"a": b"2"})
    assert list(scene.backups._waiting) == []
    assert not await is_copied(scene)
    await scene.chat.change(SettingsChange(max_age_ms=1_000_000))
    await scene.pass_by()
    assert await is_copied(scene)
    await scene.chat.change(SettingsChange(max_age_ms=0))
    await scene.pass_by()

    assert not await is_copied(scene)


async def test_who_cannot_expire_has_one_elsewhere(apart: Scene) -> None:
    await apart.chat.write({"a": b"1"}, change=NEVER)
    await apart.pass_by()

    assert await is_copied(apart)


async def test_a_redis_without_room_takes_none_until_it_has_some(scene: Scene) -> None:
    await scene.chat.write({"a": b"1"})
    scene.is_full = True
    await scene.pass_by(MOST_SECONDS)
    assert scene.counts() == (0, 0, 0)
    scene.is_full = False
    await scene.pass_by(0)

    assert scene.counts() == (1, 0, 0)


async def test_elsewhere_it_does_not_matter_how_full_redis_is(apart: Scene) -> None:
    await apart.chat.write({"a": b"1"})
    apart.is_full = True
    await apart.pass_by()

    assert await is_copied(apart)


async def test_none_is_made_if_none_is_wanted_but_what_is_there_is_restored(
    scene: Scene, link: Link
) -> None:
    await scene.chat.write({"a": b"1"})
    await scene.pass_by()
    unwanted = build(link, scene.copies, scene.redis, enabled=False)
    await unwanted.chat.write({"a": b"2"})
    await unwanted.pass_by()
    assert list(unwanted.backups._waiting) == []
    unwanted.lose()

    assert await unwanted.restored() == {"a": b"1"}
    assert unwanted.counts() == (0, 0, 0)


async def test_a_session_that_is_gone_is_no_trouble_and_its_copy_stays(scene: Scene) -> None:
    await scene.chat.write({"a": b"1"})
    await scene.pass_by()
    await scene.chat.write({"a": b"2"})
    scene.lose()
    await scene.pass_by()

    assert scene.counts() == (1, 0, 0)
    assert await scene.restored() == {"a": b"1"}


async def test_state_that_is_too_large_is_skipped_and_counted(scene: Scene) -> None:
    limit, value = Limits().max_answer_bytes, b'"%b"' % (b"x" * 4_000_000)
    for number in range(limit // len(value) + 1):
        await scene.chat.write({f"k{number}": value})
    await scene.pass_by()

    assert scene.counts() == (0, 1, 0)
    assert list(scene.backups._waiting) == []


async def test_what_is_large_is_packed_and_unpacked_beside_other_work(scene: Scene) -> None:
    large = {f"k{number}": b'"%b"' % (b"%d" % number * 100_000) for number in range(4)}
    assert sum(map(len, large.values())) > archiving.SMALL_BYTES
    await scene.chat.write(large)
    await scene.pass_by()
    scene.lose()

    assert await scene.restored() == large


# --- Trouble -------------------------------------------------------------------------------------


async def test_of_too_many_that_wait_the_first_are_skipped(
    link: Link, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "MOST_WAITING", 2)
    scene = build(link, BackupStore(link, is_elsewhere=False), redis)
    for name in "abc":
        await Chat(scene.sessions, ref_of(name)).write({"a": b"1"})

    assert list(scene.backups._waiting) == [ref_of("b"), ref_of("c")]
    assert scene.counts() == (0, 1, 0)


async def test_without_redis_it_is_tried_again_later(own_server: Server) -> None:
    link = Link(RedisTarget(url=own_server.url))
    with Redis.from_url(own_server.url) as redis:
        scene = build(link, BackupStore(link, is_elsewhere=False), redis)
        await scene.chat.write({"a": b"1"})
        shut_out(own_server)
        await scene.pass_by()
        assert scene.counts() == (0, 0, 1)
        await scene.pass_by(RETRY_SECONDS - 1)
        assert scene.counts() == (0, 0, 1)
        own_server.restart()
    await scene.pass_by(1)

    assert scene.counts()[2] == 1
    assert list(scene.backups._waiting) == []
    await link.aclose()


async def test_a_second_server_that_comes_back_gets_what_waits(
    apart: Scene, own_server: Server
) -> None:
    await apart.chat.write({"a": b"1"})
    own_server.stop()
    await apart.pass_by()
    assert (apart.counts(), apart.backups.is_away) == ((0, 0, 1), True)
    assert not await apart.backups.has(CHAT)
    await apart.pass_by(RETRY_SECONDS)  # nothing is tried as long as nobody answers there
    assert apart.counts() == (0, 0, 1)
    own_server.restart()
    await apart.backups._look()
    await apart.pass_by(RETRY_SECONDS)

    assert (apart.counts(), apart.backups.is_away) == ((1, 0, 1), False)
    assert await apart.backups.has(CHAT)


async def test_whether_there_is_a_copy_is_told_soon_or_not_at_all(
    apart: Scene, own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "LOOK_SECONDS", 0.05)
    await apart.chat.write({"a": b"1"})
    await apart.pass_by()
    assert await apart.backups.has(CHAT)
    own_server.pause()
    assert not await apart.backups.has(CHAT)
    own_server.resume()

    assert await eventually(lambda: apart.backups.has(CHAT), bool)


async def test_a_second_server_is_looked_at_though_nobody_needs_it(
    apart: Scene, own_server: Server
) -> None:
    await apart.backups._look()
    own_server.stop()
    apart.clock.ahead_seconds += RETRY_SECONDS
    await apart.backups._look()

    assert apart.backups.is_away


async def test_what_cannot_be_copied_is_counted_and_ends_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ValueError

    monkeypatch.setattr(archive, "pack", fail)
    await scene.chat.write({"a": b"1"})
    await scene.pass_by()

    assert scene.counts() == (0, 0, 1)
    assert list(scene.backups._waiting) == []


async def test_at_the_end_all_that_waits_is_copied(scene: Scene) -> None:
    for number in range(10):
        await Chat(scene.sessions, ref_of(f"chat-{number}")).write({"a": b"1"})
    await scene.backups.aclose()

    assert scene.counts() == (10, 0, 0)


async def test_the_end_does_not_wait_for_a_server_that_is_silent(
    apart: Scene,
    own_server: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(backups, "LAST_SECONDS", 0.1)
    await apart.chat.write({"a": b"1"})
    own_server.pause()
    await apart.backups.aclose()
    own_server.resume()

    assert "The last state of 1 sessions has no backup." in caplog.text


# --- Deletion ------------------------------------------------------------------------------------


async def test_a_copy_that_waits_does_not_bring_a_deleted_session_back(apart: Scene) -> None:
    await apart.chat.write({"a": b"1"})
    await apart.pass_by()
    await apart.chat.write({"a": b"2"})
    apart.store.is_holding = True
    apart.clock.ahead_seconds += QUIET_SECONDS
    due = asyncio.create_task(apart.backups.copy_due())
    await apart.store.reach(1)
    apart.store.is_holding = False
    await apart.chat.delete()
    assert not await is_copied(apart)
    apart.store.release()
    await due

    assert not await is_copied(apart)
    await apart.pass_by(1_000)
    assert not await is_copied(apart)
    assert apart.counts() == (1, 1, 0)


async def test_a_deletion_of_which_the_second_server_does_not_hear_is_not_done(
    apart: Scene, own_server: Server
) -> None:
    await apart.chat.write({"a": b"1"})
    await apart.pass_by()
    shut_out(own_server)
    with pytest.raises(Unavailable) as failure:
        await apart.chat.delete()
    assert failure.value.outcome is Outcome.UNKNOWN
    with Redis.from_url(own_server.url, password="changed") as client:
        client.config_set("requirepass", "")
    assert await is_copied(apart)
    await apart.chat.delete()

    assert not await is_copied(apart)


# --- Restoring -----------------------------------------------------------------------------------


async def test_there_is_nothing_to_restore(scene: Scene) -> None:
    with pytest.raises(NotFound) as failure:
        await scene.restored()
    assert failure.value.code == "backup_not_found"


async def test_a_session_that_is_there_is_replaced_only_if_that_is_wanted(scene: Scene) -> None:
    await scene.chat.write({"a": b"1"})
    await scene.pass_by()
    await scene.chat.write({"a": b"2"})
    assert await scene.chat.state() == {"a": b"2"}  # memory has it
    with pytest.raises(Conflict):
        await scene.restored()
    assert await scene.chat.state() == {"a": b"2"}

    assert await scene.restored(replaces=True) == {"a": b"1"}


async def test_a_damaged_copy_is_told_and_changes_nothing(scene: Scene) -> None:
    done = await scene.chat.write({"a": b"1"})
    await scene.pass_by()
    key = backup_key(CHAT).decode()
    for at in (40, -1):
        copy = scene.redis.get(key)
        assert isinstance(copy, bytes)
        scene.redis.setrange(key, at % len(copy), bytes((copy[at] ^ 1,)))
        with pytest.raises(Unprocessable) as failure:
            await scene.restored(replaces=True)
        assert failure.value.code == "backup_damaged"
        assert isinstance(failure.value.__context__, Damaged)
        scene.redis.set(key, copy)

    assert (await scene.chat.view(Reading())).session == done.session
    assert await scene.restored(replaces=True) == {"a": b"1"}


async def test_what_was_restored_is_copied_on(scene: Scene) -> None:
    await scene.chat.write({"creds": b"1"})
    await scene.pass_by()
    scene.lose()
    await scene.chat.write({"other": b"2"})
    await scene.pass_by()
    assert scene.counts() == (1, 1, 0)  # the first writes to an empty session take nothing away
    assert await scene.restored(replaces=True) == {"creds": b"1"}
    await scene.chat.write({"creds": b"3"})
    await scene.pass_by()

    assert scene.counts() == (2, 1, 0)
    scene.lose()
    assert await scene.restored() == {"creds": b"3"}


async def test_a_session_that_has_lived_for_a_while_has_a_copy_of_its_own(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert EARLIER_MS > 60_000
    await scene.chat.write({"creds": b"1"})
    await scene.pass_by()
    scene.lose()
    await scene.chat.write({"other": b"2"})
    monkeypatch.setattr(backups, "EARLIER_MS", 0)
    await scene.pass_by()

    assert await scene.restored(replaces=True) == {"other": b"2"}


async def test_a_restoration_is_done_though_its_copy_cannot_be_kept_as_its_own(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise StoreFull("full")

    await scene.chat.write({"a": b"1"})
    await scene.pass_by()
    scene.lose()
    monkeypatch.setattr(scene.copies, "keep", refuse)

    assert await scene.restored() == {"a": b"1"}
    assert scene.counts() == (1, 0, 1)
