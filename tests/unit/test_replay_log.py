"""The log of writes keeps the newest that fit, in their order."""

from itertools import count
from os import urandom

from service.model import SessionRef
from service.store.replay.log import BLOCK_BYTES, OVERHEAD_BYTES, UNKEPT, Entry, ReplayLog
from tests.store_calls import ref_of

REF = ref_of("chat")
BUDGET_BYTES = 8 * BLOCK_BYTES


def entry(rev: int, data: bytes = b"", ref: SessionRef = REF) -> Entry:
    return Entry.of(ref, name="append", gen="g", rev=rev, at_ms=1_000 + rev, args=("a", 7, data))


def revs(log: ReplayLog) -> list[int]:
    return [each.rev for each in log.entries()]


def test_an_entry_comes_back_as_it_was() -> None:
    log, one = ReplayLog(BUDGET_BYTES), entry(1, b"\x00\xff")
    assert log.add(one)
    (found,) = log.entries()
    assert (found.ref, found.follows, list(found.args)) == (REF, 0, ["a", 7, b"\x00\xff"])
    assert (found.name, found.gen, found.at_ms) == (one.name, one.gen, one.at_ms)


def test_what_is_old_leaves_when_there_is_too_much() -> None:
    log = ReplayLog(BUDGET_BYTES)
    for rev in range(1, 2_001):
        assert log.add(entry(rev, urandom(1_000)))
        assert log.held_bytes <= BUDGET_BYTES
    kept = revs(log)
    assert kept == list(range(kept[0], 2_001))
    status = log.status
    assert (status.writes, status.dropped) == (len(kept), kept[0] - 1)
    assert status.since_ms == 1_000 + kept[0]
    assert status.bytes > BUDGET_BYTES * 0.7


def test_full_blocks_are_compressed() -> None:
    log = ReplayLog(BUDGET_BYTES)
    sizes = [
        log.add(entry(rev, b"the same words again and again " * 10)) for rev in range(1, 2_001)
    ]
    assert all(sizes)
    assert len(revs(log)) == 2_000
    assert log.held_bytes < 2_000 * 310 / 5


def test_one_that_is_too_large_is_not_kept_and_takes_nobody_away() -> None:
    log = ReplayLog(BUDGET_BYTES)
    log.add(entry(1))
    assert not log.add(entry(2, urandom(BUDGET_BYTES // 4)))
    assert log.add(entry(3, urandom(3 * BLOCK_BYTES // 2)))
    assert [(each.rev, each.name) for each in log.entries()] == [
        (1, "append"),
        (2, UNKEPT),  # so that nothing else is taken for it
        (3, "append"),
    ]
    assert log.status.dropped == 1


def test_an_empty_log_tells_of_nothing() -> None:
    log = ReplayLog(BUDGET_BYTES)
    assert (revs(log), log.status.since_ms, log.held_bytes) == ([], None, 0)


def test_what_comes_while_it_is_read_does_no_harm() -> None:
    log, numbers = ReplayLog(2 * (BLOCK_BYTES + OVERHEAD_BYTES)), count(1)
    for _ in range(200):
        log.add(entry(next(numbers), urandom(500)))
    seen = []
    for each in log.entries():
        seen.append(each.rev)
        log.add(entry(next(numbers), urandom(500)))
        if len(seen) == 300:
            break
    assert seen == sorted(seen)
