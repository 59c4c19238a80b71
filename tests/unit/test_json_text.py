"""JSON as text, against the standard library's decoder as judge."""

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import json_text
from service.errors import BadInput, TooLarge
from service.json_text import (
    Identity,
    check_json,
    check_utf8,
    check_value,
    depth_exceeds,
    identity,
    member,
)

split_items = partial(json_text.split_items, most=100)
split_members = partial(json_text.split_members, pointer="/set", most=100)

NAMES = st.text(st.sampled_from('ab:"\\{}[],/\u00e9\u0000\U0001f600'), max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
PAIRS = st.lists(
    st.tuples(NAMES, VALUES, st.booleans(), st.sampled_from(["", " ", "\n\t"])), max_size=6
)


def write_object(pairs: list[tuple[str, Any, bool, str]]) -> bytes:
    """Write an object that may repeat names, with escapes or without, and with spaces."""
    members = [
        f"{space}{write(name, is_ascii)}{space}:{space}{write(value, is_ascii)}{space}"
        for name, value, is_ascii, space in pairs
    ]
    return f"{{{','.join(members)}}}".encode()


def write(value: Any, is_ascii: bool) -> str:  # noqa: ANN401, FBT001
    text = json.dumps(value, ensure_ascii=is_ascii)
    return text.replace(":", "\\u003A") if is_ascii and isinstance(value, str) else text


def names_of(text: bytes) -> list[str]:
    pairs: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)
    return [name for name, _ in pairs]


@given(pairs=PAIRS)
@settings(max_examples=400, deadline=None)
def test_a_repeated_member_is_found_however_it_is_spelled(
    pairs: list[tuple[str, Any, bool, str]],
) -> None:
    text = write_object(pairs)
    names = names_of(text)

    if len(set(names)) == len(names):
        members = split_members(text)
        assert {name: json.loads(raw) for name, raw in members.items()} == json.loads(text)
        assert all(raw in text and raw == raw.strip() for raw in members.values())
    else:
        with pytest.raises(BadInput, match="twice"):
            split_members(text)


@given(pairs=PAIRS, member=NAMES)
@settings(max_examples=400, deadline=None)
def test_the_identity_is_text_or_an_integer_of_a_member_named_once(
    pairs: list[tuple[str, Any, bool, str]], member: str
) -> None:
    text = write_object(pairs)
    values = [value for name, value, _, _ in pairs if name == member]

    if len(values) > 1:
        with pytest.raises(BadInput, match="twice"):
            identity(text, member, "/messages/0")
        return
    found = identity(text, member, "/messages/0")
    if values and isinstance(values[0], str | int) and not isinstance(values[0], bool):
        assert found is not None
        assert found.text == str(values[0])
        assert json.loads(found.raw) == values[0]
    else:
        assert found is None


@given(value=VALUES, most=st.integers(0, 5), is_ascii=st.booleans())
@settings(max_examples=400, deadline=None)
def test_depth_is_what_one_counts_by_hand(value: object, most: int, *, is_ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii).encode()

    assert depth_exceeds(text, most) == (depth(value) > most)


def depth(value: object) -> int:
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
        case _:
            return 0


@pytest.mark.parametrize(
    ("text", "is_deep"),
    [
        (b"[[1]]", False),
        (b"[[[1]]]", True),
        (b'["[[[[", "\\"[[[[", "\\\\\\"[[["]', False),
        (b'["\\\\",[["x\\\\"]]]', True),
        (b"[[],[],[],[]]", False),
    ],
)
def test_brackets_in_strings_do_not_nest(text: bytes, *, is_deep: bool) -> None:
    json.loads(text)
    assert depth_exceeds(text, 2) == is_deep
    if is_deep:
        with pytest.raises(BadInput, match="too deep") as failure:
            check_value(text, "/here", max_depth=2)
        assert failure.value.faults[0].pointer == "/here"
    else:
        check_value(text, "/here", max_depth=2)


NOT_JSON = [
    b"",
    b" ",
    b"{",
    b'{"a":1,}',
    b"[1,]",
    b"NaN",
    b"-Infinity",
    b"01",
    b"1 2",
    b"'a'",
    b'"\x01"',
    b'"\\ud800"',
    b'"\\ud800\\u0041"',
    b'{"\\udc00":1}',
    b"\xef\xbb\xbf1",
    b"\x00",
    b"nul",
    b'{"a" 1}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("text", NOT_JSON)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(BadInput):
        check_json(text, "/here")
    for wrapped in (b'{"a":' + text + b"}", b'{"a":{"b":' + text + b"}}"):
        with pytest.raises(BadInput):
            split_members(wrapped)
    with pytest.raises(BadInput):
        split_items(b"[1," + text + b"]", "/here")


@pytest.mark.parametrize("text", [b"1e999", b"-0", b"1.0", b"9" * 400, b' {"a":1,"a":2} ', b'""'])
def test_what_is_json_is_kept_as_it_is(text: bytes) -> None:
    check_json(text)
    assert split_members(b'{ "x" :' + text + b"}") == {"x": text.strip()}
    assert split_items(b"[" + text + b" , " + text + b"]", "") == [text.strip()] * 2


@pytest.mark.parametrize("text", [b"[]", b"1", b'"a"', b"null"])
def test_an_object_is_wanted_where_members_are(text: bytes) -> None:
    with pytest.raises(BadInput, match="a JSON object"):
        split_members(text)


def test_an_array_is_wanted_where_items_are() -> None:
    with pytest.raises(BadInput, match="a JSON array") as failure:
        split_items(b"{}", "/messages")
    assert failure.value.faults[0].pointer == "/messages"


@pytest.mark.parametrize("text", [b"\xff", b'{"a":"\xed\xa0\x80"}', b'"\xc0\x80"', b'"\xf4\x90'])
def test_bytes_that_are_no_utf8_are_refused(text: bytes) -> None:
    with pytest.raises(BadInput, match="UTF-8"):
        check_utf8(text)


@given(text=st.text())
def test_all_text_is_utf8(text: str) -> None:
    check_utf8(text.encode("utf-8", "replace"))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b'{"id":"a"}', Identity(b'"a"', "a")),
        (b'{"id":"\\u0061"}', Identity(b'"\\u0061"', "a")),
        (b'{"\\u0069d":"a"}', Identity(b'"a"', "a")),
        (
            b'{"id":12345678901234567890123}',
            Identity(b"12345678901234567890123", "12345678901234567890123"),
        ),
        (b'{"id":-7}', Identity(b"-7", "-7")),
        (b'{"id":1.0}', None),
        (b'{"id":1e2}', None),
        (b'{"id":null}', None),
        (b'{"id":true}', None),
        (b'{"id":["a"]}', None),
        (b'{"x":{"id":"a"}}', None),
        (b'{"x":{"id":"a","id":"b"},"id":"c"}', Identity(b'"c"', "c")),
        (b'{"x":"\\"id\\"","id":"c"}', Identity(b'"c"', "c")),
    ],
)
def test_only_a_top_level_text_or_integer_identifies(
    message: bytes, expected: Identity | None
) -> None:
    assert identity(message, "id", "") == expected


@pytest.mark.parametrize("inner", [b"1", b'{"a":[1,2,3],"b":"],[{},"}', b"[[],[],[]]"])
@pytest.mark.parametrize("count", [99, 100, 101])
def test_no_more_items_are_split_than_a_call_may_have(
    inner: bytes, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = b"[" + b",".join([inner] * count) + b"]"
    members = b"{" + b",".join(b'"%d":%s' % (i, inner) for i in range(count)) + b"}"
    for cheap in (0, 100_000):  # counted before it is split, and after
        monkeypatch.setattr(json_text, "_CHEAP_ITEMS", cheap)
        if count <= 100:
            assert len(split_items(array, "")) == len(split_members(members)) == count
            continue
        with pytest.raises(TooLarge):
            split_items(array, "")
        with pytest.raises(TooLarge):
            split_members(members)


def test_a_member_is_found_by_any_name_and_only_at_the_top() -> None:
    text = json.dumps({"a": {"b": 1}, '"': 2, "\\": 3, "\u00e9": 4}).encode()
    names = ("a", "b", '"', "\\", "\u00e9", "c")
    assert [member(text, name) for name in names] == [b'{"b": 1}', None, b"2", b"3", b"4", None]
    assert member(b"[1]", "a") is None


@pytest.mark.parametrize(
    ("text", "is_repeated"),
    [
        (rb'{"a\u003ab":1,"x":1,"x":2}', True),  # its colons alone would add up
        (rb'{"a\u003Ab":{"x":1,"y":[2,3]},"x":1}', False),
        (rb'{"\\u003a":"\u003a","\u003a":1}', False),
        (rb'{"a":"\u003a"}', False),
    ],
)
def test_an_escaped_colon_hides_no_repeated_member(text: bytes, is_repeated: bool) -> None:  # noqa: FBT001 # a column
    if is_repeated:
        with pytest.raises(BadInput, match="twice"):
            split_members(text)
    else:
        assert split_members(text).keys() == json.loads(text).keys()
