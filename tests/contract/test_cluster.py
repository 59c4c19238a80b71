"""Sessions in a cluster: each behaves as anywhere else, and a listing finds those of all nodes."""

from collections.abc import AsyncIterator
from random import Random

import pytest
from redis.crc import key_slot

from service.errors import Conflict
from service.holds import Uncounted
from service.model import ETag, Lease, Limits, Namespace
from service.store import (
    BackupStore,
    Directory,
    Held,
    LeaseStore,
    Link,
    Mark,
    RedisStore,
    RedisTarget,
)
from service.store.cluster import Shard
from service.store.directory import MOST_SCANS, _parse, _Place, _token
from service.store.keys import backup_key, session_keys
from tests.clusters import Clustered, client_of
from tests.contract.test_backups import Copied
from tests.contract.test_directory import listed, make, pages
from tests.store_calls import DEFAULTS, EVERYTHING, UNCONDITIONAL, Chat, ref_of

NAMES = [f"chat {number}" for number in range(12)]


@pytest.fixture
async def link(cluster: Clustered) -> AsyncIterator[Link]:
    link = Link(RedisTarget(url=cluster.url))
    yield link
    await link.aclose()


@pytest.fixture
def store(link: Link) -> RedisStore:
    return RedisStore(link, Limits(), DEFAULTS)


@pytest.fixture
def directory(link: Link) -> Directory:
    return Directory(link)


def nodes_of(cluster: Clustered, names: list[str]) -> set[int]:
    return {cluster.owner(session_keys(ref_of(name)).log).port for name in names}


async def test_sessions_of_all_nodes_behave_as_anywhere(
    store: RedisStore, cluster: Clustered
) -> None:
    assert len(nodes_of(cluster, NAMES)) == 3
    for name in NAMES:
        chat = Chat(store, ref_of(name))
        await chat.say("one", "two", "three")
        await chat.write({"k": b'"v"', "gone": b"1"}, deletes=["gone"])
        assert (await chat.pop(1)).session.message_count == 2
        view = await store.read(chat.ref, EVERYTHING)
        assert view is not None
        assert view.session.state_key_count == 1
        await store.delete(chat.ref, UNCONDITIONAL)
        assert await store.read(chat.ref, EVERYTHING) is None


async def test_leases_of_all_nodes_are_held_and_checked(link: Link) -> None:
    leases = LeaseStore(link)
    for name in NAMES:
        ref = ref_of(name)
        assert isinstance(await leases.acquire(ref, "mine", 60_000), Lease)
        assert isinstance(await leases.acquire(ref, "other", 60_000), Held)
        assert (await leases.check(ref, "mine"), await leases.check(ref, "other")) == (True, False)
        await leases.release(ref, "mine")
        with pytest.raises(Conflict):
            await leases.extend(ref, "mine", 60_000)


async def test_keys_are_where_the_cluster_has_them(store: RedisStore, cluster: Clustered) -> None:
    await make(store, ["a}b{", "{}", "x"])
    for name in ("a}b{", "{}", "x"):
        keys = session_keys(ref_of(name))
        assert len({key_slot(key) for key in keys}) == 1
        with client_of(cluster.owner(keys.log)) as redis:
            assert redis.exists(keys.log)
            assert redis.cluster("KEYSLOT", keys.log) == key_slot(keys.log)


@pytest.mark.parametrize("limit", [1, 7, 100, 1_000])
async def test_a_listing_finds_the_sessions_of_all_nodes(
    store: RedisStore, directory: Directory, limit: int
) -> None:
    names = {f"{number % 3} {number}" for number in range(90)}
    await make(store, names)
    await make(store, ["elsewhere"], namespace="other")
    found = [session.id async for page in pages(directory, limit=limit) for session in page]
    assert set(found) == names
    assert await listed(directory, "1 ", limit=limit) == {n for n in names if n[0] == "1"}


async def test_a_page_is_in_the_order_of_its_sessions(
    store: RedisStore, directory: Directory
) -> None:
    await make(store, NAMES)
    page = await directory.page(Namespace("default"), "", 100, None)
    for session in page.sessions:
        view = await store.read(ref_of(session.id), EVERYTHING)
        assert view is not None
        assert view.session == session


async def test_a_listing_misses_none_while_others_come_and_go(
    store: RedisStore, directory: Directory
) -> None:
    stay, dice = {f"stays {number}" for number in range(60)}, Random(3)
    await make(store, stay)
    found: set[str] = set()
    async for page in pages(directory, limit=5):
        found |= {session.id for session in page}
        name = f"comes {dice.randrange(20)}"
        await make(store, [name])
        await store.delete(ref_of(f"comes {dice.randrange(20)}"), UNCONDITIONAL)
    assert found >= stay


async def test_an_empty_cluster_has_no_sessions(directory: Directory) -> None:
    assert MOST_SCANS > 3
    assert await listed(directory) == set()


SHARDS = (Shard(0, "a"), Shard(100, "b"), Shard(200, "c"))


@pytest.mark.parametrize(
    ("place", "rest", "start"),
    [
        (_Place(0), "abc", 0),
        (_Place(7, node="b", slot=100), "bc", 7),
        (_Place(7, node="b", slot=50), "bc", 7),  # it lost some slots, or got some
        (_Place(7, node="gone", slot=100), "bc", 0),  # somebody took its place
        (_Place(7, node="gone", slot=150), "c", 0),
    ],
)
def test_a_listing_goes_on_with_the_next_node(place: _Place, rest: str, start: int) -> None:
    shards, here = _parse(_token(place)).among(SHARDS)
    assert "".join(shard.id for shard in shards) == rest
    assert here is not None
    assert (here.start, here.node) == (start, rest[0])


def test_behind_the_last_node_is_nothing() -> None:
    assert _Place(7, node="gone", slot=201).among(SHARDS) == ([], None)


async def test_a_place_behind_the_last_node_is_the_end(directory: Directory) -> None:
    token = _token(_Place(7, node="gone", slot=16_383))
    page = await directory.page(Namespace("default"), "", 10, token)
    assert (page.sessions, page.next) == ((), None)


async def test_copies_of_state_are_where_their_sessions_are(
    store: RedisStore, link: Link, cluster: Clustered
) -> None:
    copies = BackupStore(link, is_elsewhere=False)
    for number, name in enumerate(NAMES):
        ref = ref_of(name)
        with client_of(cluster.owner(session_keys(ref).log)) as redis:
            copied = Copied(store, copies, redis, ref)
            await copied.chat.write({"a": b"%d" % number})
            assert await copied.keep()
            assert redis.exists(backup_key(ref))
            copied.lose()
            await copied.restore()
            assert await copied.chat.state() == {"a": b"%d" % number}
            await copied.chat.delete()
            assert await copies.find(ref) is None


async def test_a_cluster_may_have_the_copies_of_others(link: Link, cluster: Clustered) -> None:
    copies = BackupStore(link, is_elsewhere=True)
    for name in NAMES:
        ref = ref_of(name)
        mark = Mark(ETag(gen="AAAAAAAA", rev=1), 100, 1)
        assert await copies.keep(ref, mark, b"content", replaces_earlier=False)
        assert await copies.fetch(ref, Uncounted()) == b"content"
        await copies.delete(ref, 200)
        assert await copies.find(ref) is None
