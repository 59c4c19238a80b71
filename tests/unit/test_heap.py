import os
from pathlib import Path

import pytest

from service.memory.heap import (
    Allocator,
    HeapProbe,
    heap_reading,
    malloc,
    parse_pymalloc,
    pymalloc,
)
from service.memory.machine import own_rss_bytes
from service.vitals import HeapReading
from tests.memory_fakes import MIB, FakeClock


def test_the_heap_is_read_once_a_second_however_often_it_is_asked_for() -> None:
    clock = FakeClock()
    probe = HeapProbe(clock)
    first = probe.read()
    clock.seconds += 0.9
    assert probe.read() is first
    clock.seconds += 0.2
    assert probe.read() is not first


class SlowClock(FakeClock):
    """Each look at it takes 20 ms, as if reading the heap did."""

    def monotonic(self) -> float:
        self.seconds += 0.02
        return self.seconds


def test_a_heap_that_is_slow_to_read_is_read_less_often() -> None:
    clock = SlowClock()
    probe = HeapProbe(clock)
    first = probe.read()
    clock.seconds += 9
    assert probe.read() is first
    clock.seconds += 2
    assert probe.read() is not first


def test_the_heap_of_this_process_is_plausible() -> None:
    reading = HeapProbe(FakeClock()).read()
    assert 0 < reading.used_bytes <= reading.total_bytes
    assert reading.rss_bytes > MIB


@pytest.mark.skipif(malloc() is None or pymalloc() is None, reason="an allocator does not tell")
def test_what_is_taken_from_either_allocator_is_in_use(still_heap: None) -> None:
    probe = HeapProbe(FakeClock())
    before = probe._measure()
    large = os.urandom(8 * MIB)
    many = [(number,) for number in range(100_000)]
    after = probe._measure()
    assert after.is_exact
    wanted = len(large) + len(many) * 48
    assert after.used_bytes - before.used_bytes > 0.9 * wanted


def test_a_heap_without_proc_is_its_rss(tmp_path: Path) -> None:
    reading = HeapProbe(FakeClock(), root=tmp_path).read()
    assert reading.rss_bytes > MIB


def test_what_a_trim_gave_back_is_no_longer_held() -> None:
    reading = heap_reading(900, 500, Allocator(700, 300), Allocator(100, 80))
    assert reading == HeapReading(rss_bytes=900, total_bytes=500, used_bytes=380, is_exact=True)


def test_what_is_in_use_is_held_even_if_it_was_never_touched() -> None:
    reading = heap_reading(900, 200, Allocator(700, 300), Allocator(100, 80))
    assert (reading.total_bytes, reading.used_bytes) == (380, 380)


@pytest.mark.parametrize(
    ("malloc_state", "pymalloc_state"),
    [(None, Allocator(1, 1)), (Allocator(1, 1), None), (None, None)],
)
def test_with_an_allocator_unknown_nothing_is_said_to_be_free(
    malloc_state: Allocator | None,
    pymalloc_state: Allocator | None,
) -> None:
    reading = heap_reading(900, 500, malloc_state, pymalloc_state)
    assert reading == HeapReading(rss_bytes=900, total_bytes=500, used_bytes=500, is_exact=False)


def test_the_interpreters_statistics_are_understood() -> None:
    text = (
        b"4 arenas * 1048576 bytes/arena     =            4,194,304\n\n"
        b"# bytes in allocated blocks        =            3,144,112\n"
    )
    assert parse_pymalloc(text) == Allocator(4 * MIB, 3_144_112)


@pytest.mark.parametrize("text", [b"", b"# bytes in allocated blocks = 3\n", b"no arenas"])
def test_statistics_of_another_allocator_are_unknown(text: bytes) -> None:
    assert parse_pymalloc(text) is None


class FullLibrary:
    """A C library without mallinfo2 and with no memory left for a stream."""

    class Opener:
        def __call__(self, *_: object) -> None:
            return None

    fmemopen = Opener()


def test_a_c_library_that_does_not_tell_leaves_the_allocators_unknown() -> None:
    assert malloc(FullLibrary()) is None
    assert pymalloc(FullLibrary()) is None
    assert pymalloc(object()) is None


def test_reading_the_heap_costs_no_memory() -> None:
    probe = HeapProbe(FakeClock())
    probe._measure()
    before_bytes = own_rss_bytes()
    for _ in range(1_000):
        probe._measure()
    assert own_rss_bytes() - before_bytes < MIB
