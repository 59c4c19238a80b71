"""Copies of state in Redis: kept, found, kept out, restored; each a call that is all or nothing."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace
from redis import Redis

from service import archive
from service.archive import StateCopy
from service.errors import Conflict, Locked, NotFound, PreconditionFailed, StoreFull
from service.holds import Uncounted
from service.model import (
    Conditions,
    ETag,
    Limits,
    Namespace,
    Reading,
    SessionRef,
    StateKey,
    StatePart,
    StoredValue,
    Touch,
    Value,
)
from service.store import (
    Backup,
    BackupStore,
    Census,
    Directory,
    Link,
    Mark,
    RedisStore,
    RedisTarget,
)
from service.store.backups import LIFE_MS, TOMBSTONE_MS
from service.store.keys import backup_key, ref_of_key, session_keys
from service.writes import Configured, SettingsChange
from tests.conftest import FLAVOURS
from tests.servers import Server, start_server
from tests.store_calls import (
    CHAT,
    DEFAULTS,
    UNCONDITIONAL,
    Chat,
    holding,
    keyed,
    lives,
    matching,
    not_matching,
    tag_of,
)

ALL_STATE = Reading(state=StatePart.ALL, is_snapshot=True, renews=False)
FIRST = ETag(gen="AAAAAAAA", rev=1)
OTHER = ETag(gen="BBBBBBBB", rev=1)


@dataclass(frozen=True, slots=True)
class Copied:
    """A session, and where its copies are."""

    store: RedisStore
    copies: BackupStore
    redis: Redis
    ref: SessionRef = field(default=CHAT)

    @property
    def chat(self) -> Chat:
        return Chat(self.store, self.ref)

    async def taken(self) -> StateCopy:
        view = await self.store.read(self.ref, ALL_STATE)
        assert view is not None
        values = {key: stored for key, stored in view.values.items() if stored}
        return StateCopy(session=view.session, at_ms=view.now_ms, values=values)

    async def keep(self, *, replaces_earlier: bool = False) -> bool:
        """Copy the state as it is now."""
        copy = await self.taken()
        mark = Mark(copy.session.etag, copy.at_ms, len(copy.values))
        packed = archive.pack(copy)
        return await self.copies.keep(self.ref, mark, packed, replaces_earlier=replaces_earlier)

    async def put(self, etag: ETag, at_ms: int, content: bytes, *, over: bool = False) -> bool:
        """Keep a copy of whatever it may be."""
        mark = Mark(etag, at_ms, 1)
        return await self.copies.keep(self.ref, mark, content, replaces_earlier=over)

    async def restore(
        self, conditions: Conditions = UNCONDITIONAL, *, replaces: bool = False
    ) -> Configured:
        packed = await self.copies.fetch(self.ref, Uncounted())
        assert packed is not None
        copy = archive.unpack(packed)
        return await self.store.restore(self.ref, copy, conditions, replaces=replaces)

    async def fetched(self) -> bytes | None:
        return await self.copies.fetch(self.ref, Uncounted())

    def age(self) -> None:
        """Let the session be made, and renewed, five seconds earlier."""
        script = """
            local h = cmsgpack.unpack(redis.call('LINDEX', KEYS[1], 0))
            h[4], h[6] = h[4] - 5000, 0
            redis.call('LSET', KEYS[1], 0, cmsgpack.pack(h))"""
        self.redis.eval(script, 1, session_keys(self.ref).log)

    def lose(self) -> None:
        """Take the session away as an expiry would."""
        self.redis.delete(*session_keys(self.ref))


@pytest.fixture
async def link(server: Server) -> AsyncIterator[Link]:
    link = Link(RedisTarget(url=server.url))
    yield link
    await link.aclose()


@pytest.fixture
def here(store: RedisStore, redis: Redis, link: Link) -> Copied:
    """Give copies beside the sessions."""
    return Copied(store, BackupStore(link, is_elsewhere=False), redis)


@pytest.fixture
def elsewhere(store: RedisStore, redis: Redis, link: Link) -> Copied:
    """Give copies as on another server, which does not know of the sessions."""
    return Copied(store, BackupStore(link, is_elsewhere=True), redis)


@pytest.fixture(params=["here", "elsewhere"])
def copied(request: pytest.FixtureRequest, here: Copied, elsewhere: Copied) -> Copied:
    return here if request.param == "here" else elsewhere


# --- Keeping and finding -------------------------------------------------------------------------


async def test_a_copy_is_found_with_what_it_tells_of_itself(copied: Copied) -> None:
    await copied.chat.write({"a": b"1", "b": b'"x"'})
    assert await copied.copies.find(CHAT) is None
    assert await copied.fetched() is None
    assert await copied.keep()

    found, packed = await copied.copies.find(CHAT), await copied.fetched()
    assert packed is not None
    copy = archive.unpack(packed)
    values = {key: stored.value for key, stored in copy.values.items()}
    assert values == {StateKey("a"): Value(b"1"), StateKey("b"): Value(b'"x"')}
    size = copied.redis.strlen(backup_key(CHAT))
    assert found == Backup(at_ms=copy.at_ms, size_bytes=size, keys=2)
    assert LIFE_MS - 10_000 < copied.redis.pttl(backup_key(CHAT)) <= LIFE_MS


async def test_a_copy_outlives_its_session_and_is_none_of_its_keys(copied: Copied) -> None:
    await copied.chat.write({"a": b"1"}, change=SettingsChange(ttl_ms=60_000))
    await copied.keep()
    await copied.chat.change(SettingsChange(ttl_ms=90_000))
    assert copied.redis.pttl(backup_key(CHAT)) > 90_000
    copied.lose()

    assert await copied.chat.is_absent()
    assert await copied.copies.find(CHAT) is not None


async def test_a_later_copy_takes_the_place_of_an_earlier_one(copied: Copied) -> None:
    await copied.chat.write({"a": b"1"})
    early = await copied.taken()
    await copied.keep()
    await copied.chat.write({"a": b"2"})
    assert await copied.keep()
    assert not await copied.keep()  # it is there

    mark = Mark(early.session.etag, early.at_ms, 1)
    assert not await copied.copies.keep(CHAT, mark, archive.pack(early), replaces_earlier=True)
    done = await copied.restore(replaces=True)
    assert (done.created, await copied.chat.state()) == (False, {"a": b"2"})


async def test_the_copy_of_a_session_that_was_lost_is_not_taken_away_at_once(
    copied: Copied,
) -> None:
    await copied.chat.write({"creds": b"1"})
    await copied.keep()
    copied.lose()
    await copied.chat.write({"a": b"2"})

    assert not await copied.keep()
    await copied.restore(replaces=True)
    assert await copied.chat.state() == {"creds": b"1"}
    assert await copied.keep(replaces_earlier=True)


async def test_without_content_there_is_no_copy_any_more(copied: Copied) -> None:
    done = await copied.chat.write({"a": b"1"})
    await copied.keep()
    done = await copied.chat.write(deletes=["a"])
    assert await copied.put(done.session.etag, done.now_ms, b"")

    assert await copied.copies.find(CHAT) is None
    assert await copied.fetched() is None
    assert copied.redis.pttl(backup_key(CHAT)) <= TOMBSTONE_MS


# --- Deletion ------------------------------------------------------------------------------------


async def test_a_deletion_takes_the_copy_beside_the_session_along(here: Copied) -> None:
    await here.chat.write({"a": b"1"})
    await here.keep()
    taken = await here.taken()
    await here.chat.delete()

    assert here.redis.dbsize() == 0
    mark = Mark(taken.session.etag, taken.at_ms, 1)
    assert not await here.copies.keep(CHAT, mark, archive.pack(taken), replaces_earlier=True)
    assert here.redis.dbsize() == 0


async def test_a_copy_of_a_session_that_is_gone_is_deleted_too(here: Copied) -> None:
    await here.chat.write({"a": b"1"})
    await here.keep()
    here.lose()
    await here.chat.delete()
    assert here.redis.dbsize() == 0


async def test_a_deletion_that_is_refused_leaves_the_copy(here: Copied) -> None:
    await here.chat.write({"a": b"1"})
    await here.keep()
    for conditions in (matching("other-1"), holding("nobodys")):
        with pytest.raises((PreconditionFailed, Locked)):
            await here.chat.delete(conditions)
    assert await here.copies.find(CHAT) is not None


async def test_a_deletion_elsewhere_keeps_out_what_was_read_before(elsewhere: Copied) -> None:
    await elsewhere.put(FIRST, 100, b"content")
    await elsewhere.copies.delete(CHAT, 200)

    assert await elsewhere.copies.find(CHAT) is None
    assert await elsewhere.fetched() is None
    assert elsewhere.redis.pttl(backup_key(CHAT)) <= TOMBSTONE_MS
    assert not await elsewhere.put(FIRST, 150, b"late", over=True)
    assert not await elsewhere.put(OTHER, 200, b"late", over=True)
    assert await elsewhere.put(OTHER, 201, b"of the next session")
    assert await elsewhere.fetched() == b"of the next session"


async def test_a_session_made_anew_beside_its_copy_is_another(here: Copied) -> None:
    await here.chat.write({"a": b"1"})
    taken = await here.taken()
    await here.chat.delete()
    await here.chat.write({"a": b"2"})
    mark = Mark(taken.session.etag, taken.at_ms, 1)

    assert not await here.copies.keep(CHAT, mark, archive.pack(taken), replaces_earlier=True)
    assert await here.keep()


# --- Nobody else sees it -------------------------------------------------------------------------


async def test_a_copy_is_no_session(here: Copied, link: Link) -> None:
    await here.chat.write({"a": b"1"})
    await here.keep()
    here.lose()

    assert ref_of_key(backup_key(CHAT)) is None
    listing = await Directory(link).page(Namespace("default"), "", 100, None)
    assert listing.sessions == ()
    census = Census(link)
    for primary in await census.primaries():
        assert [session async for page in census.pages(primary) for session in page] == []


async def test_copying_is_no_use_of_a_session(here: Copied) -> None:
    await here.chat.write({"a": b"1"}, change=SettingsChange(touch=Touch.ACCESS, ttl_ms=60_000))
    here.age()
    taken = await here.taken()
    assert taken.at_ms - taken.session.renewed_at_ms >= 5_000
    view = await here.chat.view()  # the control
    assert view.session.renewed_at_ms == view.now_ms


async def test_a_state_of_many_parts_is_copied_without_renewing(here: Copied) -> None:
    large = {f"k{number}": b'"%b"' % (b"x" * 300_000) for number in range(6)}
    await here.chat.write(large, change=SettingsChange(touch=Touch.ACCESS, ttl_ms=60_000))
    here.age()
    taken = await here.taken()
    again = await here.taken()

    assert {key: stored.value.data for key, stored in taken.values.items()} == large
    assert again.at_ms - again.session.renewed_at_ms >= 5_000


@pytest.mark.parametrize("finds_backup", [True, False])
async def test_a_read_of_nothing_tells_of_a_copy_if_it_is_asked(
    here: Copied, *, finds_backup: bool
) -> None:
    reading = Reading(finds_backup=finds_backup)
    assert await here.store.read(CHAT, reading) is None
    await here.chat.write({"a": b"1"})
    await here.keep()
    assert await here.store.read(CHAT, reading) is not None
    here.lose()
    if finds_backup:
        with pytest.raises(NotFound) as failure:
            await here.store.read(CHAT, reading)
        assert failure.value.has_backup
    else:
        assert await here.store.read(CHAT, reading) is None


# --- Restoring -----------------------------------------------------------------------------------

SETTINGS = SettingsChange(ttl_ms=60_000, touch=Touch.NEVER, max_age_ms=3_600_000, max_messages=7)


async def test_a_session_that_was_lost_is_made_anew_of_its_copy(copied: Copied) -> None:
    raw = Value(b"\x00", "image/png", is_json=False)
    values: dict[str, bytes | Value] = {"a": b'{"n" :1.0}', "raw": raw}
    await copied.chat.say("gone with it")
    before = await copied.chat.write(values, change=SETTINGS)
    await copied.keep()
    copied.lose()
    done = await copied.restore()

    view = await copied.chat.view()
    assert {key: v.value for key, v in view.values.items() if v} == {
        StateKey("a"): Value(b'{"n" :1.0}'),
        StateKey("raw"): raw,
    }
    session = done.session
    assert (done.created, view.session) == (True, session)
    assert (session.ttl_ms, session.max_age_ms, session.max_messages) == (60_000, 3_600_000, 7)
    assert (session.touch, session.message_count, session.state_key_count) == (Touch.NEVER, 0, 2)
    assert session.etag.gen != before.session.etag.gen
    assert session.etag.rev == 1
    assert session.created_at_ms == session.renewed_at_ms == done.now_ms
    assert (await copied.chat.say("next")).last_seq == 1
    assert all(59_000 < left <= 60_000 for left in lives(copied.redis, CHAT)[:2])


async def test_a_session_that_is_there_is_left_alone(copied: Copied) -> None:
    await copied.chat.write({"a": b"1"})
    await copied.keep()
    before = await copied.chat.write({"a": b"2"})
    with pytest.raises(Conflict):
        await copied.restore()

    assert (await copied.chat.view()).session == before.session


async def test_one_that_is_replaced_keeps_its_messages(copied: Copied) -> None:
    await copied.chat.write({"a": b"1"}, change=SETTINGS)
    await copied.keep()
    await copied.chat.say_once("x", "y")
    await copied.chat.say_once("z", idempotency=keyed())
    await copied.chat.write({"new": b"2"}, key_ttl_ms=60_000)
    before = await copied.chat.change(SettingsChange(max_messages=100, ttl_ms=0))
    assert before is not None
    done = await copied.restore(replaces=True)

    assert await copied.chat.state() == {"a": b"1"}
    assert await copied.chat.texts() == ["x", "y", "z"]
    assert (done.created, done.session.max_messages, done.session.ttl_ms) == (False, 7, 60_000)
    assert done.session.etag.gen != before.session.etag.gen
    assert done.session.etag.rev > before.session.etag.rev
    assert done.session.created_at_ms == done.now_ms
    assert not copied.redis.exists(session_keys(CHAT).expiries.decode())
    with pytest.raises(PreconditionFailed):
        await copied.chat.say("late", conditions=matching(tag_of(before.session)))
    assert (await copied.chat.say_once("z", "y")).duplicates == (0, 1)
    assert (await copied.chat.say_once("z", idempotency=keyed())).replayed_rev is not None
    assert (await copied.chat.say_once("next")).last_seq == 4


async def test_fewer_messages_are_kept_if_the_copy_says_so(copied: Copied) -> None:
    await copied.chat.write({"a": b"1"}, change=SettingsChange(max_messages=2))
    await copied.keep()
    await copied.chat.say("1", "2", "3", change=SettingsChange(max_messages=100))
    await copied.restore(replaces=True)

    assert await copied.chat.texts() == ["2", "3"]


async def test_keys_end_when_they_would_have(copied: Copied) -> None:
    await copied.chat.write({"a": b"1"})
    done = await copied.chat.write({"ends": b"2", "over": b"3"}, key_ttl_ms=60_000)
    taken = await copied.taken()
    copied.lose()
    over = StoredValue(Value(b"3"), 0, expires_at_ms=1)
    copy = replace(taken, values={**taken.values, StateKey("over"): over})
    restored = await copied.store.restore(CHAT, copy, UNCONDITIONAL, replaces=False)

    assert restored.session.state_key_count == 2
    values = (await copied.chat.view()).values.items()
    ends = {key: stored.expires_at_ms for key, stored in values if stored}
    assert ends == {StateKey("a"): None, StateKey("ends"): done.now_ms + 60_000}
    assert not copied.redis.hexists(session_keys(CHAT).state.decode(), "over")


@pytest.mark.parametrize("exists", [True, False])
async def test_a_restoration_is_as_conditional_as_any_write(
    copied: Copied, *, exists: bool
) -> None:
    await copied.chat.write({"a": b"1"})
    await copied.keep()
    done = await copied.chat.write({"a": b"2"})
    if not exists:
        copied.lose()
    refusing = [matching("other-1"), holding("nobodys")]
    refusing += [not_matching("*", tag_of(done.session))] if exists else [matching("*")]
    for conditions in refusing:
        with pytest.raises((PreconditionFailed, Locked)):
            await copied.restore(conditions, replaces=True)

    assert await copied.chat.is_absent() != exists
    allowing = matching(tag_of(done.session)) if exists else not_matching("*")
    await copied.restore(allowing, replaces=True)
    assert await copied.chat.state() == {"a": b"1"}


@pytest.fixture(params=FLAVOURS)
async def full(request: pytest.FixtureRequest) -> AsyncIterator[Copied]:
    """Give a server that the test may fill."""
    with start_server(request.param, "--maxmemory-policy", "noeviction") as server:
        link = Link(RedisTarget(url=server.url))
        store = RedisStore(link, Limits(), DEFAULTS)
        with Redis.from_url(server.url) as redis:
            yield Copied(store, BackupStore(link, is_elsewhere=False), redis)
        await link.aclose()


async def test_in_a_full_redis_nothing_grows_and_what_shrinks_goes_on(full: Copied) -> None:
    await full.chat.say("kept")
    await full.chat.write({"a": b"1"})
    await full.keep()
    await full.chat.write({"a": b"2"})
    full.redis.config_set("maxmemory", 1)
    before = {name: full.redis.dump(name) for name in full.redis.scan_iter()}
    for growing in (full.keep, lambda: full.restore(replaces=True)):
        with pytest.raises(StoreFull):
            await growing()
    assert {name: full.redis.dump(name) for name in full.redis.scan_iter()} == before

    done = await full.chat.write(deletes=["a"])
    assert await full.put(done.session.etag, done.now_ms, b"")
    assert await full.copies.find(CHAT) is None
    everywhere = BackupStore(full.copies._link, is_elsewhere=True)
    await everywhere.delete(CHAT, done.now_ms)
    assert await full.copies.find(CHAT) is None
    await full.chat.delete()
    assert full.redis.dbsize() == 0
