"""A packed log is a list, of which the oldest may be forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from service.hot.packed_log import BLOCK_BYTES, MOST_BYTES, PackedLog

ELEMENTS = st.lists(st.binary(max_size=6) | st.integers(0, 30_000).map(bytes), max_size=12)


@given(calls=st.lists(ELEMENTS, max_size=6), count=st.integers(0, 80))
def test_a_packed_log_is_a_list(calls: list[list[bytes]], count: int) -> None:
    log, model = PackedLog(), list[bytes]()
    for elements in calls:
        log = log.extended(iter(elements), keep=1_000)
        model += elements

    held = model[len(model) - log.count :]
    assert log.newest(log.count) == held
    assert log.newest(count) == (held[-count:] if count else [])
    assert log.weight == sum(len(element) + 4 for element in held)
    if sum(map(len, model)) + 4 * len(model) <= MOST_BYTES - 2 * BLOCK_BYTES:
        assert held == model


@given(calls=st.lists(ELEMENTS, max_size=6), keep=st.integers(0, 20))
def test_what_is_needed_is_kept_and_old_blocks_go(calls: list[list[bytes]], keep: int) -> None:
    log, model = PackedLog(), list[bytes]()
    for elements in calls:
        before, log = log, log.extended(elements, keep)
        model += elements
        assert (
            before.newest(before.count)
            == model[: len(model) - len(elements)][-before.count :][: before.count]
            or not before.count
        )

    needed = model[len(model) - keep :] if keep <= len(model) else model
    if sum(map(len, needed)) <= MOST_BYTES // 4:
        assert log.newest(keep) == (needed if keep else [])
    oldest = log.blocks[0].count if log.blocks else 0
    assert log.count - oldest < max(1, keep)


def test_a_log_never_weighs_more_than_its_bound() -> None:
    log = PackedLog()
    for _ in range(100):
        log = log.extended([b"x" * 5_000], keep=1_000)
        assert log.weight <= MOST_BYTES
    assert log.weight > MOST_BYTES - 2 * BLOCK_BYTES


def test_a_message_beyond_the_bound_forgets_all_and_the_next_begins_anew() -> None:
    log = PackedLog().extended([b"a", b"b" * (MOST_BYTES + 1)], keep=10)
    assert log.count == 0

    log = log.extended([b"c"], keep=10)
    assert log.newest(10) == [b"c"]


def test_small_messages_share_blocks() -> None:
    log = PackedLog()
    for _ in range(2_000):
        log = log.extended([b"x" * 100], keep=1_000)

    assert 1_000 <= log.count < 1_000 + 2 * BLOCK_BYTES // 104
    assert len(log.blocks) <= log.weight // BLOCK_BYTES + 2
