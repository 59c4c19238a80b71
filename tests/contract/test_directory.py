"""The listing of a namespace: what a page holds, and that the pages together are the whole."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from redis import Redis

from service.errors import BadInput, Outcome, Unavailable
from service.model import Listing, Namespace, Reading, Session, SessionId
from service.store import Directory, Link, RedisStore, RedisTarget
from service.store.directory import MOST_SCANS, _parse, _Place, _token
from service.store.keys import session_keys
from service.store.scripts import script
from service.writes import SettingsChange
from tests.contract.test_commands import calls_seen
from tests.servers import HOST, Server
from tests.store_calls import Chat, ref_of

QUICK = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SPECIAL = "ab*?[]^-!\\{}m:/ \u00e9\u0301\U0001f600"
NAMES = st.text(st.sampled_from(SPECIAL), min_size=1, max_size=5)
FOREIGN_KEYS = 20_000


@asynccontextmanager
async def open_directory(url: str) -> AsyncIterator[Directory]:
    link = Link(RedisTarget(url=url))
    yield Directory(link)
    await link.aclose()


@pytest.fixture
async def directory(server: Server) -> AsyncIterator[Directory]:
    async with open_directory(server.url) as directory:
        yield directory


async def pages(
    directory: Directory, prefix: str = "", *, limit: int = 100, namespace: str = "default"
) -> AsyncIterator[list[Session]]:
    """Turn the pages to the end; each holds no session twice, and no more than the limit."""
    cursor: str | None = None
    while True:
        page = await directory.page(Namespace(namespace), prefix, limit, cursor)
        assert len({session.id for session in page.sessions}) == len(page.sessions) <= limit
        yield list(page.sessions)
        cursor = page.next
        if cursor is None:
            return


async def listed(
    directory: Directory, prefix: str = "", *, limit: int = 100, namespace: str = "default"
) -> set[str]:
    found = pages(directory, prefix, limit=limit, namespace=namespace)
    return {session.id async for page in found for session in page}


async def make(store: RedisStore, names: Iterable[str], namespace: str = "default") -> None:
    for name in names:
        await Chat(store, ref_of(name, namespace)).put()


def logs(names: Iterable[str]) -> list[bytes]:
    return [session_keys(ref_of(name)).log for name in names]


class Crowd:
    """Makes and removes thousands of sessions at once, each the copy of a real one."""

    def __init__(self, redis: Redis, head: list[bytes | str]) -> None:
        self.redis = redis
        self.head = head

    def come(self, names: Iterable[str]) -> None:
        pipeline = self.redis.pipeline(transaction=False)
        for log in logs(names):
            pipeline.rpush(log, *self.head)
        pipeline.execute()

    def go(self, names: Iterable[str]) -> None:
        self.redis.delete(*logs(names))


@pytest.fixture
async def crowd(store: RedisStore, redis: Redis) -> Crowd:
    model = Chat(store, ref_of("model"))
    await model.put()
    head = redis.lrange(session_keys(model.ref).log.decode(), 0, -1)
    await model.delete()
    assert isinstance(head, list)
    return Crowd(redis, head)


async def test_a_listing_tells_of_each_session_what_a_read_of_it_tells(
    store: RedisStore, directory: Directory
) -> None:
    chats = [Chat(store, ref_of(name)) for name in ("plain", "said", "state", "both", "brief")]
    plain, said, state, both, brief = chats
    await plain.put()
    await said.say_once("1", "2", "3")
    await state.write({"a": b"1", "b": b"2"})
    await both.say("{}")
    await both.write({"a": b"1"})
    await brief.put(SettingsChange(ttl_ms=60_000, max_messages=7))

    found = [session async for page in pages(directory) for session in page]
    reads = [(await chat.view(Reading())).session for chat in chats]
    assert sorted(found, key=lambda it: it.id) == sorted(reads, key=lambda it: it.id)


async def test_of_an_empty_namespace_there_is_one_empty_page(directory: Directory) -> None:
    assert await directory.page(Namespace("default"), "", 100, None) == Listing(
        sessions=(), next=None
    )


@given(names=st.sets(NAMES, max_size=12), prefix=st.text(st.sampled_from(SPECIAL), max_size=3))
@QUICK
async def test_a_prefix_is_taken_literally(
    crowd: Crowd, directory: Directory, names: set[str], prefix: str
) -> None:
    crowd.redis.flushall()
    crowd.come(names | {"a"})

    wanted = {name for name in names | {"a"} if name.startswith(prefix)}
    assert await listed(directory, prefix, limit=3) == wanted


@pytest.mark.parametrize("prefix", ["i" * 256, "*" * 256, "\\" * 256, "\u00e9" * 128, "\0", "a\n"])
async def test_a_prefix_may_be_any_text(
    store: RedisStore, directory: Directory, prefix: str
) -> None:
    await make(store, ["i" * 256, "*" * 256, "\u00e9" * 128, "x"])

    expected = {prefix} - {"\\" * 256, "\0", "a\n"}
    assert await listed(directory, prefix) == expected


async def test_other_namespaces_are_invisible(store: RedisStore, directory: Directory) -> None:
    namespaces = ["a", "aa", "a-", "a_b", "b", "default"]
    for namespace in namespaces:
        await make(store, [f"of {namespace}", "*", f"b:{{{namespace}:x}}m"], namespace)

    for namespace in namespaces:
        found = await listed(directory, namespace=namespace)
        assert found == {f"of {namespace}", "*", f"b:{{{namespace}:x}}m"}
    assert await listed(directory, namespace="none") == set()
    assert await listed(directory, "of a", namespace="b") == set()


async def test_a_session_that_has_expired_is_not_listed(
    store: RedisStore, directory: Directory
) -> None:
    await Chat(store, ref_of("brief")).put(SettingsChange(ttl_ms=1))
    await make(store, ["lasting"])
    await asyncio.sleep(0.005)

    assert await listed(directory) == {"lasting"}


async def test_a_session_that_went_after_it_was_found_is_left_out(
    store: RedisStore, directory: Directory
) -> None:
    await make(store, ["here"])
    found = await directory._describe([ref_of("gone"), ref_of("here"), ref_of("gone too")])

    assert [session.id for session in found] == ["here"]
    assert await directory._describe([ref_of("gone")]) == []


async def test_what_is_no_session_is_not_listed(
    store: RedisStore, directory: Directory, redis: Redis
) -> None:
    await make(store, ["here"])
    redis.hset("b:{default:state-without-its-log}s", "k", "v")
    redis.rpush(b"b:{default:\xff}m", "not UTF-8")
    for key in ("b:{default:here}", "b:{default}m", "xb:{default:y}m", "default", "default:here"):
        redis.rpush(key, "of somebody else")

    assert await listed(directory) == {"here"}


async def test_a_page_is_one_scan_and_one_script(
    store: RedisStore, directory: Directory, redis: Redis
) -> None:
    await make(store, map(str, range(10)))
    await listed(directory)

    assert await calls_seen(redis, listed(directory)) == ["SCAN", "EVALSHA"]
    assert await calls_seen(redis, listed(directory, "none")) == ["SCAN"]


async def test_a_large_page_is_described_in_slices(
    crowd: Crowd, directory: Directory, redis: Redis
) -> None:
    names = {f"chat-{number}" for number in range(600)}
    crowd.come(names)
    await listed(directory)

    assert await listed(directory, limit=1_000) == names
    seen = await calls_seen(redis, listed(directory, limit=1_000))
    assert seen == ["SCAN", "EVALSHA", "EVALSHA"]


def test_describing_may_be_repeated() -> None:
    assert not script("describe").writes


@pytest.mark.parametrize("limit", [1, 2, 7, 100, 1_000])
async def test_a_page_takes_few_scans_however_many_keys_are_of_others(
    crowd: Crowd, directory: Directory, redis: Redis, limit: int
) -> None:
    pipeline = redis.pipeline(transaction=False)
    for number in range(FOREIGN_KEYS):
        pipeline.set(f"foreign-{number}", "")
    pipeline.execute()
    names = {f"{number}" for number in range(20)}
    crowd.come(names)
    seen, cursor, turned = set(), None, 0
    while turned == 0 or cursor:
        redis.config_resetstat()
        page = await directory.page(Namespace("default"), "", limit, cursor)
        assert redis.info("commandstats")["cmdstat_scan"]["calls"] <= MOST_SCANS
        seen |= {session.id for session in page.sessions}
        cursor, turned = page.next, turned + 1

    assert seen == names
    assert 2 <= turned <= 20 + 2 * FOREIGN_KEYS / 2**MOST_SCANS


@pytest.mark.parametrize("limit", [1, 2, 10, 1_000])
async def test_the_pages_together_are_the_whole(
    crowd: Crowd, directory: Directory, limit: int
) -> None:
    names = {f"chat-{number}" for number in range(2_000)}
    crowd.come(names)
    seen = [[session.id for session in page] async for page in pages(directory, limit=limit)]

    assert {name for page in seen for name in page} == names
    # A page is about half full at least, and few come again while the table is rehashed.
    assert len(seen) <= 2.5 * len(names) / limit + 1
    assert sum(map(len, seen)) < 1.1 * len(names)


def is_ours(token: str) -> bool:
    with suppress(BadInput):
        return bool(_parse(token))
    return False


@given(token=st.text(max_size=40) | st.binary(max_size=40).map(bytes.hex))
@QUICK
async def test_a_cursor_of_nobody_is_refused(directory: Directory, token: str) -> None:
    assume(not is_ours(token))
    with pytest.raises(BadInput) as caught:
        await directory.page(Namespace("default"), "", 1, token)
    assert [fault.pointer for fault in caught.value.faults] == ["/query/cursor"]


CURSORS = st.integers(0, 2**64 - 1) | st.integers(0, 100)


@given(start=CURSORS, end=CURSORS, last=st.text(max_size=5))
@QUICK
async def test_a_cursor_that_was_made_up_does_no_harm(
    crowd: Crowd, directory: Directory, start: int, end: int, last: str
) -> None:
    crowd.come(["a", "b", "c"])
    token = _token(_Place(start, end, last))
    assert _parse(token) == _Place(start, end, last)

    page = await directory.page(Namespace("default"), "", 2, token)
    assert {session.id for session in page.sessions} <= set("abc")
    assert await directory.page(Namespace("other"), "", 2, token) == Listing(sessions=(), next=None)


@pytest.mark.parametrize(
    "fields", [[], {}, 1, [-1], [2**64], [1.0], [True], [0, None], [0, 0, 1], [0, 0, "", 0]]
)
def test_a_token_of_other_parts_is_refused(fields: object) -> None:
    try:
        token = _token(fields)  # type: ignore[arg-type]
    except (OverflowError, msgspec.MsgspecError):
        token = "zwEAAAAAAAAAAA"  # an extension: MessagePack has no larger integers
    with pytest.raises(BadInput):
        _parse(token)


class Agreeable(asyncio.Protocol):
    """Answers OK whatever it is told."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def data_received(self, _: bytes) -> None:
        self.transport.write(b"+OK\r\n")


async def test_what_answers_like_no_redis_is_unavailable() -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Agreeable, HOST, 0) as stranger:
        port = stranger.sockets[0].getsockname()[1]
        async with open_directory(f"redis://{HOST}:{port}") as directory:
            with pytest.raises(Unavailable, match="no Redis") as caught:
                await directory.page(Namespace("default"), "", 1, None)
    assert caught.value.outcome is Outcome.NOT_APPLIED


STEADY = {f"a-{number}" for number in range(80)}
TIDE = [f"z-{number}" for number in range(1_000)]


async def seen_in_a_storm(
    directory: Directory, crowd: Crowd, limit: int, seed: int
) -> tuple[set[str], int]:
    """List while others come and go in bulk between the pages; tables grow and shrink by that."""
    order, seen = Random(seed), set[str]()
    there = turned = 0
    crowd.redis.flushall()
    crowd.come(STEADY)
    async for page in pages(directory, limit=limit):
        seen |= {session.id for session in page}
        turned += 1
        crowd.go(TIDE[:there] or ["nobody"])
        there = order.choice([0, 0, 50, 250, len(TIDE)])
        crowd.come(TIDE[:there])
    return seen, turned


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_none_is_missed_while_tables_grow_and_shrink(
    crowd: Crowd, directory: Directory, limit: int
) -> None:
    for seed in range(5):
        seen, turned = await seen_in_a_storm(directory, crowd, limit, seed)
        assert seen >= STEADY
        assert turned < 2 * (len(STEADY) + len(TIDE))


async def test_the_storm_would_show_a_session_that_is_missed(
    crowd: Crowd, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_a_look_at_the_end(place: _Place, ids: set[SessionId], _end: int) -> set[SessionId]:
        return {sid for sid in ids if sid > place.last}

    monkeypatch.setattr(_Place, "undelivered", without_a_look_at_the_end)
    missed, seed = set[str](), 0
    while not missed:
        assert seed < 20
        seen, _ = await seen_in_a_storm(directory, crowd, 1, seed)
        missed, seed = STEADY - seen, seed + 1
