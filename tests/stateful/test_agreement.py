"""The comparison itself: it must not let pass what differs."""

import pytest

from tests.agreement import Difference, End, Gen, Leaf, Mark, Moment, Tag, Text, agree

AT = "1970-01-01T00:00:00.005Z"


def moment(low: int, high: int) -> Moment:
    return Moment(low, high)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"a": 1}, b'{"a":1,"b":2}'),
        ({"a": 1}, b"[1]"),
        ([1], b'{"a":1}'),
        ([1], b"[1,2]"),
        (b"1.0", b"1"),
        (1, b"2"),
        (moment(6, 9), f'"{AT}"'.encode()),
        (End([(moment(0, 0), 4)]), f'"{AT}"'.encode()),
        (End([]), f'"{AT}"'.encode()),
        (Tag(Gen(set(), "g"), 1), b'"\\"g-2\\""'),
        (Tag(Gen(set(), "g"), 1), b'"\\"h-1\\""'),
        (Tag(Gen({"g"}), 1), b'"\\"g-1\\""'),
        (Tag(Gen(set(), "g"), 1), b"1"),
        (Mark(Gen(set(), "g"), {'"g-1"'}), b'"\\"g-1\\""'),
        (Mark(Gen(set(), "g"), set(), '"g-1"'), b'"\\"g-2\\""'),
        (Text(b"1.0"), b"1"),
        (Text(None, {"a": b"1"}), b'{"a":2}'),
    ],
)
def test_what_differs_is_a_difference(expected: object, found: bytes) -> None:
    with pytest.raises(Difference):
        agree(expected, found)


def test_a_place_is_named() -> None:
    with pytest.raises(Difference, match=r"^/a/1: b'3', not b'2'$"):
        agree({"a": [b"1", b"2"]}, b'{"a":[1,3]}')


def test_what_is_seen_once_is_known_to_all_that_share_it() -> None:
    start = moment(0, 9)
    agree(End([(start, 3)]), f'"{AT}"'.encode())
    assert start == moment(2, 2)
    gen = Gen(set())
    leaves: list[Leaf] = [Tag(gen, 3), Mark(gen, set())]
    agree(leaves, b'["\\"g-3\\"","\\"g-7\\""]')
    assert gen.text == "g"


def test_which_of_two_moments_it_was_stays_open() -> None:
    one, other = moment(0, 9), moment(1, 9)
    agree(End([(one, 3), (other, 3)]), f'"{AT}"'.encode())
    assert (one, other) == (moment(0, 9), moment(1, 9))
