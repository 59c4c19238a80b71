"""Waiting for a lease over a real Redis: whose turn it is, and what ends the waiting."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from time import monotonic

import pytest
from redis import Redis

from service import leases
from service.clock import SystemClock
from service.errors import Conflict, Locked, Unavailable
from service.leases import MOST_PAUSE_SECONDS, Leases
from service.model import Lease, SessionRef
from service.store import Held, LeaseStore, Link, RedisTarget
from tests.polling import eventually
from tests.servers import Server, start_server
from tests.store_calls import ref_of

REF = ref_of("chat")
A_MINUTE_MS = 60_000
LONG_MS = 20_000
SLACK_SECONDS = 0.5
"""What a busy machine may add."""


class CountedStore(LeaseStore):
    """The real store; it remembers when the lease was looked at, and by which token."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.tokens: list[str] = []
        self.times: list[float] = []

    async def acquire(self, ref: SessionRef, token: str, ttl_ms: int) -> Lease | Held:
        self.tokens.append(token)
        self.times.append(monotonic())
        return await super().acquire(ref, token, ttl_ms)


class Process:
    """The leases of one process, as far as others can tell."""

    def __init__(self, url: str) -> None:
        self.link = Link(RedisTarget(url=url))
        self.store = CountedStore(self.link)
        self.leases = Leases(self.store, SystemClock())
        self.is_stopping = False

    async def acquire(self, wait_ms: int = 0, ttl_ms: int = A_MINUTE_MS) -> Lease:
        async def check_wanted() -> None:
            if self.is_stopping:
                raise Unavailable("It stops.", code="stopping")

        return await self.leases.acquire(
            REF, ttl_ms=ttl_ms, wait_ms=wait_ms, check_wanted=check_wanted
        )

    async def line_up(self, wait_ms: int = LONG_MS) -> asyncio.Task[Lease]:
        """Begin to wait; return when one more stands in the line."""
        length = await self.length()
        task = asyncio.create_task(self.acquire(wait_ms))
        await eventually(self.length, lambda now: now > length)
        return task

    async def look(self, times: int = 1) -> None:
        """Return when the lease was looked at so many times more."""
        wanted = await self.looks() + times
        await eventually(self.looks, lambda looks: looks >= wanted)

    async def looks(self) -> int:
        return len(self.store.tokens)

    async def length(self) -> int:
        line = self.leases._lines.get(REF)
        return line.length if line else 0


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with start_server("valkey") as server:
        yield server


@pytest.fixture
def url(shared: Server) -> str:
    with Redis.from_url(shared.url) as redis:
        redis.flushall()
    return shared.url


@pytest.fixture
async def here(url: str) -> AsyncIterator[Process]:
    process = Process(url)
    yield process
    assert process.leases._lines == {}
    await process.link.aclose()


@pytest.fixture
async def there(url: str) -> AsyncIterator[Process]:
    process = Process(url)
    yield process
    assert process.leases._lines == {}
    await process.link.aclose()


@pytest.fixture
def no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody look a second time unless something wakes them."""
    monkeypatch.setattr(leases, "FIRST_PAUSE_SECONDS", 3_600)
    monkeypatch.setattr(leases, "MOST_PAUSE_SECONDS", 3_600)


async def in_time(task: asyncio.Task[Lease], seconds: float) -> Lease:
    async with asyncio.timeout(seconds):
        return await task


async def ends_with(task: asyncio.Task[Lease], seconds: float) -> BaseException | None:
    """Return what a task ends with, which must be soon."""
    done, _ = await asyncio.wait([task], timeout=seconds)
    assert done
    return task.exception()


async def test_a_free_lease_is_taken_without_waiting(here: Process) -> None:
    lease = await here.acquire(LONG_MS)

    assert len(lease.token) == 22
    assert here.store.tokens == [lease.token]


async def test_no_two_leases_have_the_same_token(here: Process) -> None:
    tokens = set()
    for _ in range(20):
        lease = await here.acquire()
        tokens.add(lease.token)
        await here.leases.release(REF, lease.token)

    assert len(tokens) == 20


async def test_who_does_not_wait_looks_once(here: Process) -> None:
    await here.acquire()
    with pytest.raises(Locked) as caught:
        await here.acquire()

    assert caught.value.retry_after_seconds == 60
    assert len(here.store.tokens) == 2


async def test_what_remains_is_rounded_up_and_never_0(here: Process) -> None:
    await here.acquire(ttl_ms=100)
    with pytest.raises(Locked) as caught:
        await here.acquire()

    assert caught.value.retry_after_seconds == 1


async def test_waiting_ends_in_time_and_not_before(here: Process) -> None:
    await here.acquire()
    began = monotonic()
    with pytest.raises(Locked):
        await here.acquire(wait_ms=150)

    assert 0.15 <= monotonic() - began < 0.15 + SLACK_SECONDS


async def test_those_behind_end_in_time_too_and_know_what_remains(here: Process) -> None:
    await here.acquire()
    first = await here.line_up()
    began = monotonic()
    second = await here.line_up(wait_ms=100)
    failure = await ends_with(second, 1)

    assert 0.1 <= monotonic() - began < 0.1 + SLACK_SECONDS
    assert isinstance(failure, Locked)
    assert failure.retry_after_seconds == 60
    first.cancel()
    await asyncio.wait([first])


async def test_who_does_not_wait_is_not_held_up_by_those_who_do(here: Process) -> None:
    await here.acquire()
    first = await here.line_up()
    began = monotonic()
    with pytest.raises(Locked):
        await here.acquire()

    assert monotonic() - began < SLACK_SECONDS
    first.cancel()
    await asyncio.wait([first])


async def test_a_release_here_wakes_the_first_at_once_in_the_order_of_coming(
    here: Process, no_polls: None
) -> None:
    lease = await here.acquire()
    waiting = [await here.line_up() for _ in range(5)]
    for number, task in enumerate(waiting):
        await here.leases.release(REF, lease.token)
        lease = await in_time(task, SLACK_SECONDS)
        assert not any(later.done() for later in waiting[number + 1 :])


async def test_only_the_first_looks(here: Process) -> None:
    await here.acquire()
    waiting = [await here.line_up() for _ in range(5)]
    here.store.tokens.clear()
    await here.look(3)

    assert len(set(here.store.tokens)) == 1
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_a_release_elsewhere_is_seen_within_a_pause(here: Process, there: Process) -> None:
    lease = await there.acquire()
    waiting = await here.line_up()
    await here.look(5)  # now a pause has its full length
    await there.leases.release(REF, lease.token)

    await in_time(waiting, MOST_PAUSE_SECONDS + SLACK_SECONDS)


async def test_pauses_grow_but_not_beyond_their_longest(here: Process, there: Process) -> None:
    await there.acquire()
    waiting = await here.line_up()
    await here.look(7)
    pauses = [after - before for before, after in pairwise(here.store.times)]

    assert pauses[-1] > pauses[0]
    assert all(pause < MOST_PAUSE_SECONDS + SLACK_SECONDS for pause in pauses)
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_an_expiry_is_not_slept_over(here: Process, there: Process, no_polls: None) -> None:
    await there.acquire(ttl_ms=300)
    began = monotonic()
    await here.acquire(LONG_MS)

    assert 0.25 < monotonic() - began < 0.3 + SLACK_SECONDS


async def test_who_gives_up_makes_room_for_the_next(here: Process, no_polls: None) -> None:
    lease = await here.acquire()
    waiting = [await here.line_up() for _ in range(4)]
    for quitter in (waiting[1], waiting[0]):
        quitter.cancel()
        await asyncio.wait([quitter])
    await here.leases.release(REF, lease.token)

    lease = await in_time(waiting[2], SLACK_SECONDS)
    await here.leases.release(REF, lease.token)
    await in_time(waiting[3], SLACK_SECONDS)


async def test_stopping_ends_every_wait(here: Process) -> None:
    await here.acquire()
    waiting = [await here.line_up() for _ in range(4)]
    here.is_stopping = True

    for task in waiting:
        failure = await ends_with(task, MOST_PAUSE_SECONDS + SLACK_SECONDS)
        assert isinstance(failure, Unavailable)
        assert failure.code == "stopping"


async def test_without_redis_all_who_wait_are_told_together() -> None:
    with start_server("valkey") as server:
        process = Process(server.url)
        await process.acquire()
        waiting = [await process.line_up() for _ in range(6)]
        await process.look()
        server.pause()
        began = monotonic()
        failures = [await ends_with(task, 3) for task in waiting]
        assert monotonic() - began < 2
        assert {type(failure) for failure in failures} == {Unavailable}
        server.resume()

        with pytest.raises(Locked):
            await process.acquire(wait_ms=100)
        assert process.leases._lines == {}
        await process.link.aclose()


async def test_a_line_that_failed_does_not_fail_those_who_come_after(here: Process) -> None:
    lease = await here.acquire()
    first, second = await here.line_up(), await here.line_up()
    here.is_stopping = True
    assert isinstance(await ends_with(first, 1), Unavailable)
    here.is_stopping = False
    third = await here.line_up()
    await here.leases.release(REF, lease.token)

    await in_time(third, SLACK_SECONDS)
    assert isinstance(await ends_with(second, 1), Unavailable)


async def test_nobody_joins_a_line_that_failed(here: Process) -> None:
    with here.leases._joined(REF) as failed:
        with here.leases._joined(REF) as same:
            same.failure = Unavailable("Redis is away.")
        with here.leases._joined(REF) as later:
            assert failed is same is not later


async def test_a_release_wakes_once(here: Process, no_polls: None) -> None:
    lease = await here.acquire()
    first, second = await here.line_up(), await here.line_up()
    await here.leases.release(REF, lease.token)
    await in_time(first, SLACK_SECONDS)
    await asyncio.sleep(0.1)

    assert len(here.store.tokens) <= 6
    second.cancel()
    await asyncio.wait([second])


async def test_extending_and_releasing_need_no_line(here: Process) -> None:
    lease = await here.acquire(ttl_ms=1_000)
    longer = await here.leases.extend(REF, lease.token, A_MINUTE_MS)
    await here.leases.release(REF, lease.token)

    assert longer.expires_at_ms > lease.expires_at_ms
    with pytest.raises(Conflict):
        await here.leases.extend(REF, lease.token, A_MINUTE_MS)
