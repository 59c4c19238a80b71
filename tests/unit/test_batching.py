"""Writes as they wait, and which of them share a call: the same as one after the other."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from service.batching import (
    ENTRY_BYTES,
    GROUP_BYTES,
    KEYED_BYTES,
    Queue,
    Write,
    next_batch,
    pack_write,
    payload_bytes,
    unpack_write,
)
from service.errors import Unprocessable
from service.model import StateKey, Touch, Value
from service.writes import Append, Idempotency, SettingsChange, StateWrite
from tests.store_calls import identified, keyed, messages_of, writing

MOST = 7

PLAIN = st.lists(st.text(max_size=9), min_size=1, max_size=4).map(lambda them: messages_of(*them))
DEDUPED = st.builds(
    lambda ids, member: identified(*ids, member=member),
    st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=4),
    st.sampled_from(["id", "name"]),
)
ALONE = st.sampled_from(
    [
        messages_of("x", change=SettingsChange(ttl_ms=0, touch=Touch.ACCESS)),
        messages_of("x", idempotency=keyed()),
        writing({"k": b"1"}, deletes=["z"], key_ttl_ms=5, own_key="k", idempotency=keyed()),
        writing({"k": Value(b"\x00\xff", "image/png", is_json=False)}),
        writing(change=SettingsChange(max_age_ms=1, max_messages=2)),
        StateWrite(),
    ]
)
WRITES = st.lists(st.one_of(PLAIN, PLAIN, DEDUPED, ALONE), min_size=1, max_size=12)


def batches_of(writes: Sequence[Write], most: int = MOST) -> list[tuple[int, Write]]:
    entries, batches = [pack_write(write) for write in writes], []
    while entries:
        count, write = next_batch(entries, most)
        assert next_batch(entries[:count], most) == (count, write)
        batches.append((count, write))
        del entries[:count]
    return batches


@given(WRITES)
def test_a_write_comes_back_as_it_was(writes: list[Write]) -> None:
    for write in writes:
        assert unpack_write(pack_write(write)) == write


@given(WRITES)
def test_batches_are_all_writes_in_their_order(writes: list[Write]) -> None:
    left = list(writes)
    for count, write in batches_of(writes):
        group, left = left[:count], left[count:]
        if count == 1:
            assert write == group[0]
            continue
        appends = [each for each in group if isinstance(each, Append)]
        assert len(appends) == count
        assert isinstance(write, Append)
        assert write.messages == tuple(text for each in appends for text in each.messages)
        assert write.digests == tuple(digest for each in appends for digest in each.digests)
        assert len(write.messages) <= MOST
        assert {each.dedupe for each in appends} == {write.dedupe}
        assert not any(each.idempotency or each.change != SettingsChange() for each in appends)
    assert not left


def test_appends_that_may_share_a_call_do() -> None:
    assert [count for count, _ in batches_of([messages_of("x")] * 10)] == [7, 3]
    assert [count for count, _ in batches_of([messages_of("x", "y", "z")] * 3)] == [2, 1]


def test_a_call_is_no_larger_than_others_can_wait_for() -> None:
    large = [messages_of("x" * (GROUP_BYTES // 3))] * 5
    assert [count for count, _ in batches_of(large)] == [2, 2, 1]
    assert [count for count, _ in batches_of([messages_of("x" * GROUP_BYTES)] * 2)] == [1, 1]


def test_the_payload_is_what_was_sent() -> None:
    assert payload_bytes(messages_of("12", "345")) == 5
    assert payload_bytes(writing({"key": b"123", "other": b"4"}, deletes=["z"])) == 4


# The queue


def add(queue: Queue, write: Write) -> int:
    """Add a write; return its weight."""
    entry = pack_write(write)
    queue.add(entry, write.idempotency)
    return len(entry) + ENTRY_BYTES + (KEYED_BYTES if write.idempotency else 0)


def test_a_batch_that_was_sent_stays_what_it_was() -> None:
    queue = Queue()
    add(queue, messages_of("1"))
    first = queue.batch(MOST)
    add(queue, messages_of("2"))

    assert queue.batch(MOST) == first == messages_of("1")
    queue.forget()
    assert queue.batch(MOST) == messages_of("2")


def test_what_is_forgotten_gives_back_what_was_counted() -> None:
    queue = Queue()
    writes = [messages_of("1"), messages_of("2", idempotency=keyed()), messages_of("3")]
    weight = sum(add(queue, write) for write in writes)
    freed = 0
    while queue.done < queue.added:
        queue.batch(MOST)
        freed += queue.forget()

    assert freed == weight
    assert queue.payload_bytes == 0


def test_a_keyed_call_is_known_as_long_as_it_waits() -> None:
    queue = Queue()
    call = keyed("key", "call")
    assert not queue.has(call)
    add(queue, messages_of("1", idempotency=call))

    assert queue.has(call)
    assert not queue.has(None)
    assert not queue.has(keyed("other", "call"))
    with pytest.raises(Unprocessable) as caught:
        queue.has(replace(call, fingerprint=b"another"))
    assert caught.value.code == "idempotency_key_reused"
    queue.batch(MOST)
    queue.forget()
    assert not queue.has(Idempotency(b"key", b"another"))


def test_a_key_is_kept_while_what_stands_before_it_is_forgotten() -> None:
    queue = Queue()
    add(queue, writing({"k": b"1"}))
    add(queue, StateWrite(sets={StateKey("k"): Value(b"2")}, idempotency=keyed()))
    queue.batch(MOST)
    queue.forget()

    assert queue.has(keyed())
