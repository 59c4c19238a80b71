"""Each call finds the primary of its key: also when the slot moves, and when the primary dies."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from service.clock import SystemClock
from service.errors import Outcome, Unavailable
from service.model import TlsVerify
from service.store import Link, RedisTarget, Watch
from service.store.cluster import Shard, SlotMap, redirected, slot_map
from service.store.failures import Unmapped
from service.store.topology import CLUSTER_PORT, Seeds, topology_of
from tests.clusters import PASSWORD, Clustered, Migration, client_of, start_cluster
from tests.polling import eventually
from tests.scripts_of_tests import COUNT, ECHO, script_of
from tests.servers import HOST, Flavour, Server, free_port

KEYS = [b"b:{%d}m" % number for number in range(12)]
BOTH = script_of(b"return {redis.call('EXISTS', KEYS[1], KEYS[2])}", writes=False)
Told = list[Sequence[bytes] | None]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
async def link(cluster: Clustered, told: Told) -> AsyncIterator[Link]:
    """Give a link that listens, and has asked all primaries once."""
    link = Link(RedisTarget(url=cluster.url), on_invalidated=told.append)
    assert not link.is_tracking
    assert await link.everywhere("PING") == [b"PONG"] * 3
    told.clear()
    yield link
    await link.aclose()


async def count(link: Link, key: bytes) -> int:
    return int((await link.run(COUNT, [key], []))[0])


def migration(cluster: Clustered, key: bytes) -> Migration:
    source = cluster.owner(key)
    target = next(node for node in cluster.primaries if node is not source)
    return Migration(key=key, source=source, target=target)


def connections(node: Server) -> list[str]:
    with client_of(node) as redis:
        return [each["id"] for each in redis.client_list() if each["name"] == "ballast"]


async def test_calls_of_one_turn_find_their_nodes(cluster: Clustered, told: Told) -> None:
    link = Link(RedisTarget(url=cluster.url))
    counted = await asyncio.gather(*(count(link, key) for key in KEYS for _ in range(3)))
    assert sorted(counted) == sorted([1, 2, 3] * len(KEYS))
    assert len({cluster.owner(key).port for key in KEYS}) == 3
    assert [len(connections(node)) for node in cluster.primaries] == [1, 1, 1]
    assert not link.is_tracking
    await link.aclose()


async def test_a_script_is_made_known_to_each_node(link: Link, cluster: Clustered) -> None:
    for number, key in enumerate(KEYS):
        with client_of(cluster.owner(key)) as redis:
            redis.script_flush()
        assert await count(link, key) == 1, number


async def test_what_is_large_has_its_own_connections_if_there_may_be_so_many(
    cluster: Clustered,
) -> None:
    text = "x" * 200_000
    for most, each in ((4, 1), (6, 2)):
        link = Link(RedisTarget(url=cluster.url, max_connections=most))
        for key in KEYS:
            assert await link.run(ECHO, [key], [text]) == [text.encode()]
            await count(link, key)
        assert [len(connections(node)) for node in cluster.primaries] == [each] * 3
        await link.aclose()


async def test_more_primaries_than_connections_are_told(cluster: Clustered) -> None:
    link = Link(RedisTarget(url=cluster.url, max_connections=2))
    watch = Watch(link, SystemClock(), connections_max=2)
    await watch.look()
    assert "more primaries than REDIS_MAX_CONNECTIONS" in str(watch.status.last_error)
    with pytest.raises(Unavailable, match="more primaries") as caught:
        await count(link, KEYS[0])
    assert caught.value.outcome is Outcome.NOT_APPLIED
    await link.aclose()


async def test_a_slot_that_moves_while_calls_run_is_followed(
    link: Link, cluster: Clustered, told: Told
) -> None:
    key, acknowledged, is_over = KEYS[0], [0], asyncio.Event()

    async def call() -> None:
        while not is_over.is_set():
            acknowledged.append(await count(link, key))

    await count(link, key)
    calls = [asyncio.create_task(call()) for _ in range(4)]
    there = migration(cluster, key)
    for way in (there, there.back()):
        for step in (way.begin, lambda way=way: way.move(key), way.end):
            before = len(acknowledged)
            await asyncio.to_thread(step)
            await eventually(lambda: _length(acknowledged), lambda n: n > before + 20)  # noqa: B023
    is_over.set()
    await asyncio.gather(*calls)
    assert sorted(acknowledged[1:]) == list(range(2, len(acknowledged) + 1))
    assert None in told


async def _length(found: list[int]) -> int:
    return len(found)


async def test_a_key_is_asked_for_where_it_goes(link: Link, cluster: Clustered) -> None:
    key = KEYS[1]
    way = migration(cluster, key)
    way.begin()
    with client_of(way.target) as redis:
        redis.script_flush()
    assert [await count(link, key) for _ in range(3)] == [1, 2, 3]  # ASK, then NOSCRIPT there
    with client_of(way.source) as redis:
        assert (
            redis.execute_command("CLUSTER", "COUNTKEYSINSLOT", redis.cluster("KEYSLOT", key)) == 0
        )
    way.end()
    assert await link.command("GET", key, aim=key) == b"3"
    way.back().begin()
    way.back().move(key)
    way.back().end()
    assert await count(link, key) == 4


async def test_a_caller_who_goes_does_not_leave_asking_to_others(
    link: Link, cluster: Clustered
) -> None:
    key, dice = KEYS[2], range(1, 12)
    way = migration(cluster, key)
    way.begin()
    await count(link, key)
    for turns in dice:
        task = asyncio.create_task(count(link, key))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        others = [other for other in KEYS if cluster.owner(other) is way.target]
        assert await link.run(ECHO, [others[0]], [turns]) == [str(turns).encode()]
    way.end()
    back = way.back()
    back.begin()
    back.move(key)
    back.end()


async def test_keys_of_which_one_has_moved_are_tried_again(link: Link, cluster: Clustered) -> None:
    first, second = b"b:{pair}m", b"b:{pair}s"
    way = migration(cluster, first)
    await count(link, first)
    await count(link, second)
    way.begin()
    way.move(first)
    with pytest.raises(Unavailable, match="slot of the Redis cluster is being moved") as caught:
        await link.run(BOTH, [first, second], [])
    assert caught.value.outcome is Outcome.NOT_APPLIED
    call = asyncio.create_task(link.run(BOTH, [first, second], []))
    await asyncio.sleep(0.05)
    way.move(second)
    assert await call == [2]
    way.end()
    assert await link.run(BOTH, [first, second], []) == [2]
    way.back().begin()
    way.back().move(first, second)
    way.back().end()


async def test_nodes_that_send_a_call_round_are_left(link: Link, cluster: Clustered) -> None:
    key = KEYS[3]
    way = migration(cluster, key)
    way.claim(way.source)  # the target does not know of it, and sends all back
    with pytest.raises(Unavailable, match="another node of the cluster") as caught:
        await count(link, key)
    assert caught.value.outcome is Outcome.NOT_APPLIED
    way.back().end()
    assert await count(link, key) == 1


async def test_an_error_of_a_script_is_told(link: Link, cluster: Clustered) -> None:
    with client_of(cluster.owner(KEYS[4])) as redis:
        redis.rpush(KEYS[4], "a list")
    with pytest.raises(Unavailable, match="another program uses a key") as caught:
        await count(link, KEYS[4])
    assert caught.value.outcome is Outcome.NOT_APPLIED


async def test_changes_are_told_by_the_node_that_has_them(
    link: Link, cluster: Clustered, told: Told
) -> None:
    assert link.is_tracking
    for key in KEYS:
        with client_of(cluster.owner(key)) as redis:
            redis.set(key, "changed")
        await link.command("GET", key, aim=key)
        assert told == [[key]]
        told.clear()


async def test_one_lost_connection_ends_the_trust(
    link: Link, cluster: Clustered, told: Told
) -> None:
    with client_of(cluster.primaries[1]) as redis:
        redis.client_kill_filter(_type="normal", skipme=True)

    async def is_tracking() -> bool:
        return link.is_tracking

    await eventually(is_tracking, lambda it: not it)
    assert told == [None]
    await link.everywhere("PING")
    assert link.is_tracking


async def test_one_silent_node_or_an_old_map_ends_the_trust(
    link: Link, cluster: Clustered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.tracking.TRUST_SECONDS", 0.3)
    seen = [link.is_tracking]
    for _ in range(7):
        await asyncio.sleep(0.05)
        await count(link, KEYS[0])
    seen.append(link.is_tracking)
    await link.everywhere("PING")
    seen.append(link.is_tracking)
    monkeypatch.setattr("service.store.shards.TRUST_SECONDS", 0.0)
    assert [*seen, link.is_tracking] == [True, False, True, False]


@pytest.mark.parametrize("flavour", ["valkey", "redis62"])
async def test_a_replica_takes_the_place_of_its_primary(flavour: Flavour) -> None:
    with start_cluster(flavour) as cluster:
        told: Told = []
        link = Link(RedisTarget(url=cluster.url), on_invalidated=told.append)
        watch = Watch(link, SystemClock(), connections_max=4)
        key = KEYS[0]
        other = next(each for each in KEYS if cluster.owner(each) is not cluster.owner(key))
        dead = cluster.owner(key)
        replica = cluster.replicas[cluster.primaries.index(dead)]
        assert await count(link, key) == 1
        with client_of(replica) as redis:

            async def copied() -> bool:
                return bool(redis.dbsize())

            await eventually(copied, bool)
        dead.kill()
        outcomes: list[object] = []
        tried = lambda: _count_or_none(link, key, outcomes)  # noqa: E731 # it is called again
        assert await eventually(tried, bool, within_seconds=20) == 2
        # The first may have left before the connection was seen to be lost.
        assert set(outcomes[1:]) == {Outcome.NOT_APPLIED}
        assert await count(link, other) == 1
        assert None in told

        async def is_tracking() -> bool:
            await link.everywhere("PING")
            return link.is_tracking

        # Of a busy machine some nodes may still tell of the dead one.
        await eventually(is_tracking, bool, within_seconds=10)
        await watch.look()
        assert watch.status.connected
        assert {shard.address for shard in await link.shards()} == {
            (HOST, node.port) for node in (*cluster.primaries, replica) if node is not dead
        }
        await link.aclose()


async def _count_or_none(link: Link, key: bytes, outcomes: list[object]) -> int | None:
    """Return the next number, None if there was none."""
    try:
        return await count(link, key)
    except Unavailable as error:
        outcomes.append(error.outcome)
        return None


@pytest.mark.parametrize("flavour", ["valkey"])
async def test_a_primary_that_hands_over_is_left_when_its_calls_are_through(
    flavour: Flavour,
) -> None:
    with start_cluster(flavour) as cluster:
        link = Link(RedisTarget(url=cluster.url, max_connections=3), on_invalidated=lambda _: None)
        key = KEYS[0]
        former = cluster.owner(key)
        replica = cluster.replicas[cluster.primaries.index(former)]
        assert await count(link, key) == 1
        with client_of(replica) as redis:
            redis.cluster("FAILOVER")

        async def has_moved() -> bool:
            await count(link, key)
            return len(connections(replica)) == 1

        await eventually(has_moved, bool)

        async def left() -> int:
            await link.everywhere("PING")
            return len(connections(former))

        await eventually(left, lambda n: n == 0)
        assert link.is_tracking
        await link.aclose()


async def test_a_node_answers_for_a_cluster_that_has_lost_another() -> None:
    with start_cluster("valkey", replicas=0) as cluster:
        link = Link(RedisTarget(url=cluster.url))
        watch = Watch(link, SystemClock(), connections_max=4)
        await watch.look()
        cluster.primaries[0].kill()
        key = next(each for each in KEYS if cluster.owner(each) is cluster.primaries[0])
        with pytest.raises(Unavailable) as caught:
            await count(link, key)
        assert caught.value.outcome is not None
        await watch.look()
        seen = [watch.status.connected]
        for node in cluster.primaries[1:]:
            node.kill()
        await watch.look()
        assert [*seen, watch.status.connected] == [True, False]
        await link.aclose()


async def test_without_a_node_that_answers_nothing_is_sent() -> None:
    link = Link(RedisTarget(url=f"redis+cluster://{HOST}:{free_port()},{HOST}:1"))
    for call in (count(link, b"n"), link.shards(), link.everywhere("PING")):
        with pytest.raises(Unavailable, match="connection refused") as caught:
            await call
        assert caught.value.outcome is Outcome.NOT_APPLIED
    await link.aclose()


async def test_who_is_asked_may_be_no_cluster(server: Server) -> None:
    link = Link(RedisTarget(url=f"redis+cluster://{HOST}:{server.port}"))
    with pytest.raises(Unavailable, match="is no cluster: write redis://"):
        await link.command("PING")
    await link.aclose()


async def test_a_node_alone_says_that_it_is_one_of_a_cluster(cluster: Clustered) -> None:
    link = Link(RedisTarget(url=cluster.primaries[0].url))
    key = next(each for each in KEYS if cluster.owner(each) is not cluster.primaries[0])
    with pytest.raises(Unavailable, match=r"is it redis\+cluster://") as caught:
        await count(link, key)
    assert caught.value.outcome is Outcome.NOT_APPLIED
    await link.aclose()


async def test_a_wrong_password_is_told(cluster: Clustered) -> None:
    link = Link(RedisTarget(url=cluster.url.replace(PASSWORD, "wrong")))
    with pytest.raises(Unavailable, match="refused the password") as caught:
        await count(link, KEYS[0])
    assert "wrong" not in str(caught.value)
    await link.aclose()


async def test_closing_ends_what_is_being_asked(cluster: Clustered) -> None:
    link = Link(RedisTarget(url=cluster.url))
    call = asyncio.create_task(count(link, KEYS[0]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await link.aclose()
    with pytest.raises(Unavailable):
        await call


async def test_a_silent_seed_is_passed_over() -> None:
    with start_cluster("valkey", replicas=0) as cluster:
        cluster.primaries[2].pause()
        link = Link(RedisTarget(url=cluster.url))
        key = next(each for each in KEYS if cluster.owner(each) is cluster.primaries[0])
        assert await count(link, key) == 1
        assert await count(link, key) == 2
        cluster.primaries[2].resume()
        await link.aclose()


def test_what_a_node_tells_is_read() -> None:
    told = [
        [6, 9, [b"", 2, b"b"], [b"replica", 3, b"r", {}]],
        [0, 5, [b"host", 1, b"a", {}]],
        [10, 16_383, [b"host", 1, b"a"]],
    ]
    slots = slot_map(told, ("me", 9))
    assert slots.shards == (Shard(0, "a", ("host", 1)), Shard(6, "b", ("me", 2)))
    assert [slots.owners[slot] for slot in (5, 6, 9, 16_383)] == [
        *(("host", 1), ("me", 2), ("me", 2), ("host", 1))
    ]
    assert slots == slot_map(told[::-1], ("me", 9))
    assert slots != slots.moved(5, ("me", 2)) != SlotMap()
    assert slots.moved(5, ("me", 2)).owners[5] == ("me", 2)


@pytest.mark.parametrize("told", [b"OK", 1, None, [], [[]], [[0, 1]], [[0, 1, [None, 1, None]]]])
def test_what_tells_no_slots_is_no_map(told: object) -> None:
    with pytest.raises(Unmapped):
        slot_map(told, ("me", 1))


@pytest.mark.parametrize(("host", "found"), [("", "me"), ("?", "me"), ("other", "other")])
def test_a_node_without_a_name_is_where_it_spoke(host: str, found: str) -> None:
    assert redirected(host, 2, ("me", 1)) == (found, 2)


@pytest.mark.parametrize("end", ["", "/", "/0"])
def test_what_a_url_says(end: str) -> None:
    topology = topology_of(RedisTarget(url=f"redis+cluster://u:p%40@one:1,two,[::1]:3{end}"))
    assert isinstance(topology, Seeds)
    assert topology.addresses == (("one", 1), ("two", CLUSTER_PORT), ("::1", 3))
    made = topology.like.make()
    assert (made.username, made.password, made.db) == ("u", "p@", 0)


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster:///0",
        "redis+cluster://host/1",
        "redis+cluster://host/name",
        "redis+cluster://host:port",
        "redis+cluster://:1",
        "redis+cluster://host?nonsense=1",
        "redis+cluster://host/0?nonsense=1",
        "other+cluster://host",
    ],
)
def test_what_says_nowhere(url: str) -> None:
    assert topology_of(RedisTarget(url=url)) is None


def test_tls_is_to_every_node() -> None:
    target = RedisTarget(url="rediss+cluster://host", tls_verify=TlsVerify.OFF)
    assert Link(target).is_tls_verified is False
