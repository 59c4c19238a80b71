"""The journal over a Redis of the tests' own, which takes, holds or refuses what it is told to."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from service import journal as journal_module
from service.batching import GROUP_BYTES, KEY_BYTES, Write
from service.errors import (
    OVERLOADED,
    Conflict,
    Outcome,
    ServiceError,
    StoreFull,
    Unavailable,
    Unprocessable,
)
from service.holds import Uncounted
from service.journal import AT_ONCE, LARGEST_SHARE, PATIENCE_SECONDS, QUEUE_BYTES, Journal
from service.model import Namespace, SessionRef
from service.writes import Append, Idempotency
from tests.store_calls import keyed, messages_of, ref_of, writing
from tests.unit.test_hot_tier_memory import output_of
from tests.use_cases import StepClock

A, B = ref_of("a"), ref_of("b")
AWAY = Unavailable("Redis is away.", outcome=Outcome.UNKNOWN)
MOST_BYTES = 100_000


class FakeRedis:
    """Takes what comes, unless it holds or refuses it."""

    def __init__(self) -> None:
        self.taken = defaultdict[SessionRef, list[str]](list)
        self.tries = list[tuple[SessionRef, Write]]()
        self.failures = dict[SessionRef | None, Exception]()
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.most_at_once = self._at_once = 0

    async def write(self, ref: SessionRef, write: Write) -> None:
        self.tries.append((ref, write))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self.is_open.wait()
        finally:
            self._at_once -= 1
        if failure := self.failures.get(ref) or self.failures.get(None):
            raise failure
        texts = write.messages if isinstance(write, Append) else [*map(str.encode, write.sets)]
        self.taken[ref] += [text.decode() for text in texts]

    def keys_tried(self) -> list[Idempotency | None]:
        return [write.idempotency for _, write in self.tries]


class Scarce(Uncounted):
    """No memory for anything."""

    def grow(self, count: int) -> None:  # noqa: ARG002 # there is no room for any
        raise Unavailable("no memory", code=OVERLOADED)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(journal_module, "LINGER_SECONDS", 0.0)


@pytest.fixture
def redis() -> FakeRedis:
    return FakeRedis()


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


def journal_of(
    redis: FakeRedis,
    clock: StepClock | None = None,
    begin_hold: Callable[[], Uncounted] = Uncounted,
    most_bytes: int = MOST_BYTES,
) -> Journal:
    return Journal(
        redis.write, begin_hold, clock or StepClock(), most_bytes=most_bytes, most_messages=5
    )


@pytest.fixture
async def journal(redis: FakeRedis, clock: StepClock) -> AsyncIterator[Journal]:
    """Give a journal that runs."""
    journal = journal_of(redis, clock)
    task = asyncio.create_task(journal.run())
    yield journal
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 # whatever it is that holds
            await asyncio.sleep(0.001)


def say(journal: Journal, ref: SessionRef, *texts: str) -> None:
    for text in texts:
        journal.add(ref, messages_of(text))


# Order, grouping, sessions beside each other


async def test_what_waits_is_written_in_order_and_together(
    journal: Journal, redis: FakeRedis
) -> None:
    say(journal, A, *"12345678")
    say(journal, B, "x")
    await until(lambda: not journal.entries)

    assert redis.taken == {A: list("12345678"), B: ["x"]}
    assert len(redis.tries) == 3
    assert (A in journal, journal.held_bytes) == (False, 0)


async def test_what_comes_meanwhile_leaves_behind_it(journal: Journal, redis: FakeRedis) -> None:
    redis.is_open.clear()
    say(journal, A, "1")
    await until(lambda: redis.tries)
    say(journal, A, "2", "3")
    journal.add(A, writing({"4": b"0"}))
    say(journal, A, "5")
    await asyncio.sleep(0.02)
    assert len(redis.tries) == 1  # one at a time
    redis.is_open.set()
    await until(lambda: not journal.entries)

    assert redis.taken[A] == list("12345")
    assert len(redis.tries) == 4


async def test_sessions_do_not_wait_for_each_other(journal: Journal, redis: FakeRedis) -> None:
    redis.failures[A] = Conflict("for good")
    redis.is_open.clear()
    say(journal, A, "1")
    say(journal, B, "x")
    await until(lambda: len(redis.tries) == 2)
    redis.is_open.set()
    await until(lambda: not journal.entries)

    assert redis.taken[B] == ["x"]


async def test_so_many_sessions_are_written_at_once_and_no_more(
    journal: Journal, redis: FakeRedis
) -> None:
    redis.is_open.clear()
    for number in range(AT_ONCE + 9):
        say(journal, ref_of(f"{number}"), "x")
    await until(lambda: len(redis.tries) == AT_ONCE)
    await asyncio.sleep(0.02)
    assert len(redis.tries) == AT_ONCE
    redis.is_open.set()
    await until(lambda: not journal.entries)

    assert redis.most_at_once == AT_ONCE
    assert len(redis.taken) == AT_ONCE + 9


# Once


async def test_a_batch_that_is_tried_again_is_the_same_by_content_and_key(
    journal: Journal, redis: FakeRedis
) -> None:
    redis.failures[A] = AWAY
    say(journal, A, "1", "2")
    await until(lambda: redis.tries)
    say(journal, A, "3")
    await until(lambda: len(redis.tries) == 3)
    redis.failures.clear()
    await until(lambda: not journal.entries)

    first, *again, last = redis.tries
    assert all(each == first for each in again)
    key = first[1].idempotency
    assert key is not None
    assert len(key.key) == KEY_BYTES
    assert last[1].idempotency == Idempotency(key.key, b"%d" % (int(key.fingerprint) + 1))
    assert redis.taken[A] == ["1", "2", "3"]


async def test_a_client_that_gave_a_key_is_known_by_that(
    journal: Journal, redis: FakeRedis
) -> None:
    assert journal.add(A, messages_of("1", idempotency=keyed()))
    assert not journal.add(A, messages_of("1", idempotency=keyed()))
    with pytest.raises(Unprocessable):
        journal.add(A, messages_of("2", idempotency=keyed(fingerprint="another")))
    say(journal, A, "3")
    await until(lambda: not journal.entries)

    assert redis.taken[A] == ["1", "3"]
    assert redis.keys_tried()[0] == keyed()
    # Redis knows what is not held any more.
    assert journal.add(A, messages_of("1", idempotency=keyed()))


# What Redis does not take


async def test_while_redis_is_away_one_try_at_a_time_looks_for_it(
    journal: Journal, redis: FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis.failures[None] = AWAY
    say(journal, A, "x")
    await until(lambda: redis.tries)
    monkeypatch.setattr(journal_module, "PAUSE_SECONDS", 0.05)
    redis.most_at_once = 0
    before = len(redis.tries)
    for number in range(30):
        say(journal, ref_of(f"{number}"), "x")
    await asyncio.sleep(0.2)

    assert redis.most_at_once == 1
    assert 1 <= len(redis.tries) - before <= 6
    assert journal.entries == 31
    redis.failures.clear()
    await until(lambda: not journal.entries)
    assert sum(map(len, redis.taken.values())) == 31


@pytest.mark.parametrize("failure", [AWAY, StoreFull("full")])
async def test_who_waits_for_a_session_is_told_that_it_cannot_be_written(
    journal: Journal, redis: FakeRedis, failure: ServiceError
) -> None:
    redis.failures[A] = failure
    say(journal, A, "1")
    for _ in range(2):
        with pytest.raises(type(failure)) as caught:
            await journal.settle(A)
        assert caught.value is not failure
        assert getattr(caught.value, "outcome", Outcome.NOT_APPLIED) is Outcome.NOT_APPLIED
    redis.failures.clear()
    await journal.settle(A)

    assert redis.taken[A] == ["1"]


async def test_who_waits_too_long_is_sent_away_and_the_write_goes_on(
    journal: Journal, redis: FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SETTLE_SECONDS", 0.01)
    redis.is_open.clear()
    say(journal, A, "1")
    with pytest.raises(Unavailable):
        await journal.settle(A)
    redis.is_open.set()
    await until(lambda: not journal.entries)

    assert len(redis.tries) == 1


async def test_who_waits_does_not_wait_for_what_comes_later(redis: FakeRedis) -> None:
    journal = journal_of(redis)  # nobody runs it: who waits sees to it himself
    say(journal, A, "1")
    redis.is_open.clear()
    waiting = asyncio.create_task(journal.settle(A))
    await until(lambda: redis.tries)
    say(journal, A, "2")
    redis.is_open.set()
    await waiting

    assert redis.taken[A] == ["1"]
    assert A in journal
    await journal.settle(A)
    await journal.settle(A)  # nothing is there any more
    assert redis.taken[A] == ["1", "2"]


@pytest.mark.parametrize(
    "failure", [Conflict("x", code="dedupe_mismatch"), Unprocessable("x"), ValueError("a defect")]
)
async def test_what_is_refused_for_good_is_counted_told_once_and_let_go(
    journal: Journal, redis: FakeRedis, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    redis.failures[A] = failure
    say(journal, A, "secret-1", "secret-2")
    await journal.settle(A)
    say(journal, A, "secret-3")
    await journal.settle(A)
    redis.failures.clear()
    say(journal, A, "4")
    await journal.settle(A)

    assert journal.counters["journalRefused"] == 3
    assert journal.counters["journalWritten"] == 1
    assert (redis.taken[A], journal.held_bytes) == (["4"], 0)
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


async def test_another_type_under_its_name_is_for_good(journal: Journal, redis: FakeRedis) -> None:
    failure = Unavailable("something else has its name")
    failure.is_lasting = True
    redis.failures[A] = failure
    say(journal, A, "1")
    await journal.settle(A)

    assert journal.counters["journalRefused"] == 1


async def test_without_memory_to_send_it_waits_and_redis_is_not_blamed(
    redis: FakeRedis, clock: StepClock
) -> None:
    journal = journal_of(redis, clock, Scarce)
    say(journal, A, "1")
    with pytest.raises(Unavailable) as caught:
        await journal.settle(A)
    clock.ahead_seconds = PATIENCE_SECONDS + 1
    say(journal, A, "2")

    assert caught.value.code == OVERLOADED
    assert (journal.entries, redis.tries) == (2, [])


async def test_a_session_in_trouble_keeps_no_other_waiting_however_often_it_is_asked_for(
    journal: Journal, redis: FakeRedis, clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "PAUSE_SECONDS", 0.1)
    redis.failures[A] = AWAY
    say(journal, A, "1")

    async def ask() -> None:
        while True:
            with suppress(Unavailable):
                await journal.settle(A)
            await asyncio.sleep(0.001)

    asking = asyncio.create_task(ask())
    for _ in range(3):
        say(journal, B, "x")
        await until(lambda: B not in journal)
    asking.cancel()

    assert A in journal
    assert redis.taken[B] == ["x"] * 3


async def test_an_error_that_only_one_session_meets_does_not_close_the_journal(
    journal: Journal, redis: FakeRedis, clock: StepClock
) -> None:
    failure = Unavailable("Redis answered with an error")
    failure.is_alone = True
    redis.failures[A] = failure
    say(journal, A, "1")
    await until(lambda: len(redis.tries) > 1)
    clock.ahead_seconds = PATIENCE_SECONDS + 1
    say(journal, B, "x")
    await until(lambda: B not in journal)

    assert A in journal


# Bounds


async def test_a_full_journal_takes_nothing_and_what_it_has_stays(
    journal: Journal, redis: FakeRedis
) -> None:
    redis.failures[None] = AWAY
    say(journal, A, *["x"] * 10)
    taken = 10
    while journal.held_bytes + 400 < MOST_BYTES:
        say(journal, A, "x" * 100)
        taken += 1
    with pytest.raises(Unavailable) as caught:
        say(journal, A, "x" * 400)
    assert caught.value.code == "journal_full"
    assert MOST_BYTES * 0.9 < journal.held_bytes <= MOST_BYTES
    redis.failures.clear()
    await until(lambda: not journal.entries)

    assert sum(map(len, redis.taken.values())) == taken
    say(journal, A, "again")


async def test_when_redis_is_away_for_too_long_nothing_more_is_taken(
    journal: Journal, redis: FakeRedis, clock: StepClock
) -> None:
    redis.failures[None] = AWAY
    say(journal, A, "1")
    await until(lambda: redis.tries)
    clock.ahead_seconds = PATIENCE_SECONDS - 1
    say(journal, A, "2")
    clock.ahead_seconds = PATIENCE_SECONDS + 1
    with pytest.raises(Unavailable) as caught:
        say(journal, A, "3")
    assert caught.value.code == "unavailable"
    redis.failures.clear()
    await journal.settle(A)

    say(journal, A, "4")
    await journal.settle(A)
    assert redis.taken[A] == ["1", "2", "4"]


@pytest.mark.parametrize(("most_bytes", "size", "fits"), [(0, 0, False), (800, 99, True)])
def test_what_is_large_may_not_wait(most_bytes: int, size: int, *, fits: bool) -> None:
    journal = journal_of(FakeRedis(), most_bytes=most_bytes)

    assert journal.fits(messages_of("x" * size)) == fits
    assert not journal.fits(messages_of("x" * int(most_bytes * LARGEST_SHARE)))


@pytest.mark.parametrize("shape", ["one each", "many each", "keyed", "state", "large"])
def test_what_is_counted_is_the_memory_that_it_takes(shape: str) -> None:
    taken, counted = map(int, output_of("journal_child.py", shape).split())

    assert 0.6 < taken / counted < 1.2


# Flush and end


async def test_a_flush_writes_what_is_there_and_says_how_much(
    journal: Journal, redis: FakeRedis
) -> None:
    say(journal, A, *["x" * 100] * 9)
    say(journal, B, "x")
    held_bytes = journal.held_bytes

    assert await journal.flush(5) == held_bytes > 2 * QUEUE_BYTES
    assert len(redis.taken[A]) == 9


async def test_a_flush_gives_up_at_once_without_redis_and_in_time_if_it_hangs(
    journal: Journal, redis: FakeRedis
) -> None:
    redis.failures[None] = AWAY
    say(journal, A, "1")
    assert await journal.flush(60) == 0
    redis.failures.clear()
    redis.is_open.clear()
    await until(lambda: len(redis.tries) > 1)
    assert await journal.flush(0.01, is_stubborn=True) == 0
    redis.is_open.set()


async def test_the_end_waits_for_redis_and_tells_what_it_did_not_take(
    journal: Journal, redis: FakeRedis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.failures[A] = AWAY
    say(journal, A, "1", "2")
    say(journal, B, "x")
    await journal.close(0.05)

    assert redis.taken == {B: ["x"]}
    bytes_left = sum(len(each) for each in journal._queues[A]._entries)
    assert caplog.messages == [f"2 journal entries ({bytes_left} bytes) not written"]


async def test_the_end_of_an_empty_journal_says_nothing(
    journal: Journal, redis: FakeRedis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.failures[A] = AWAY
    say(journal, A, "1")
    await until(lambda: redis.tries)
    asyncio.get_running_loop().call_later(0.02, redis.failures.clear)
    await journal.close(5)

    assert redis.taken[A] == ["1"]
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


async def test_what_hangs_at_the_end_is_let_go_and_told(
    redis: FakeRedis, caplog: pytest.LogCaptureFixture
) -> None:
    journal = journal_of(redis)
    say(journal, A, "1")
    redis.is_open.clear()
    waiting = asyncio.create_task(journal.settle(A))
    await until(lambda: redis.tries)
    await journal.close(0.01)

    assert caplog.messages[0].startswith("1 journal entries")
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_it_is_known_whose_sessions_wait() -> None:
    journal = journal_of(FakeRedis())
    say(journal, ref_of("chat-1"), "x")

    assert journal.has_any(Namespace("default"), "chat")
    assert not journal.has_any(Namespace("default"), "login")
    assert not journal.has_any(Namespace("other"), "")


async def test_a_large_append_is_a_call_of_its_own(journal: Journal, redis: FakeRedis) -> None:
    journal = journal_of(redis, most_bytes=10 * GROUP_BYTES)
    say(journal, A, "x" * GROUP_BYTES, "y", "z")
    await journal.settle(A)

    assert [len(text) for text in redis.taken[A]] == [GROUP_BYTES, 1, 1]
    assert len(redis.tries) == 2
