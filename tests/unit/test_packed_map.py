"""A packed map is a dict that also knows what it does not know."""

from hypothesis import given
from hypothesis import strategies as st

from service.hot.packed_map import PAGE_BYTES, PackedMap

KEYS = st.sampled_from([bytes([letter]) for letter in b"abcdefgh"]) | st.binary(max_size=3)
VALUES = st.binary(min_size=7, max_size=12) | st.integers(7, 9_000).map(bytes)
CHANGES = st.lists(st.dictionaries(KEYS, st.none() | VALUES, max_size=6), max_size=8)


@given(changes=CHANGES, is_complete=st.booleans())
def test_a_packed_map_is_a_dict(
    changes: list[dict[bytes, bytes | None]], *, is_complete: bool
) -> None:
    packed, model = PackedMap(is_complete=is_complete), dict[bytes, bytes | None]()
    for change in changes:
        packed = packed.updated(change)
        model |= change

    present = {key: value for key, value in model.items() if value is not None}
    assert packed.all() == (present if is_complete else None)
    assert packed.get(tuple(model)) == model
    unknown = b"\xff" * 4
    assert packed.get((*model, unknown)) == ({**model, unknown: None} if is_complete else None)
    assert packed.get(()) == {}


@given(change=st.dictionaries(KEYS, st.none() | VALUES, max_size=6))
def test_a_change_leaves_the_map_before_it_as_it_was(change: dict[bytes, bytes | None]) -> None:
    before = PackedMap(is_complete=True).updated({b"a": b"1234567"})
    pages = before.pages
    before.updated(change)

    assert before.pages == pages
    assert before.get((b"a",)) == {b"a": b"1234567"}


def test_pages_stay_small_however_many_keys_there_are() -> None:
    packed = PackedMap(is_complete=True)
    for start in range(0, 5_000, 50):
        packed = packed.updated({f"key-{start + i}".encode(): b"v" * 40 for i in range(50)})

    assert sum(map(len, packed.pages)) == sum(6 + len(f"key-{i}") + 40 for i in range(5_000))
    assert max(map(len, packed.pages)) < 8 * PAGE_BYTES
    assert len(packed.pages) < 2 * packed.weight // PAGE_BYTES
    everything = packed.all()
    assert everything is not None
    assert len(everything) == 5_000


def test_a_key_that_is_known_to_be_absent_weighs_nothing_once_all_is_known() -> None:
    assert PackedMap(is_complete=True).updated({b"a": None}).weight == 0
    assert PackedMap().updated({b"a": None}).weight > 0


def test_the_longest_key_and_a_large_value_fit() -> None:
    key, value = b"k" * 512, b"v" * 4_194_304
    packed = PackedMap(is_complete=True).updated({key: value, b"b": b"1234567"})

    assert packed.get((key, b"b")) == {key: value, b"b": b"1234567"}
