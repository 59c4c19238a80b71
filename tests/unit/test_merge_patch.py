"""Merge patches, against RFC 7396 written down on parsed JSON, and on the bytes of what is kept."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BadInput, Unprocessable
from service.merge_patch import merge_patch

NAMES = st.sampled_from(
    ["", "a", "b", "a:b", '"', "\\", "{,", "/~", "\x7f", "\u00e9", "\x00", "\U0001f600"]
)
NUMBERS = st.sampled_from(["0", "1.0", "-0", "1e999", "12345678901234567890", "1E+2"])
WORDS = st.sampled_from(["null", "true", '"null"', '"\\u0061"', '"\\/"', '"{\\":,"', '""'])
BLANKS = st.sampled_from(["", " ", "\n\t"])


@st.composite
def spelled_names(draw: st.DrawFn, *, unique: bool = True) -> list[tuple[str, str]]:
    """Names, each with a way to write it: plain, with all escapes, or with needless ones."""
    names = draw(st.lists(NAMES, max_size=5, unique=unique))
    return [(name, draw(st.sampled_from(spellings(name)))) for name in names]


def spellings(name: str) -> list[str]:
    raw = name.encode("utf-16-be").hex().upper()
    escapes = "".join(f"\\u{raw[i : i + 4]}" for i in range(0, len(raw), 4))
    return [json.dumps(name, ensure_ascii=False), json.dumps(name), f'"{escapes}"']


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[str], *, unique: bool = True) -> str:
    blank = draw(BLANKS)
    members = [
        f"{blank}{spelling}{blank}:{blank}{draw(inner)}{blank}"
        for _, spelling in draw(spelled_names(unique=unique))
    ]
    return f"{blank}{{{blank}{','.join(members)}}}{blank}"


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    return f"[{draw(BLANKS)}{','.join(draw(st.lists(inner, max_size=3)))}]"


JSON_TEXTS = st.recursive(NUMBERS | WORDS, lambda inner: arrays(inner) | objects(inner))
OBJECT_TEXTS = objects(JSON_TEXTS)


def load(text: str | bytes) -> Any:  # noqa: ANN401 # JSON is anything
    return json.loads(text, parse_int=str, parse_float=str)


def reference(target: Any, patch: Any) -> Any:  # noqa: ANN401 # JSON is anything
    """The pseudocode of RFC 7396, 2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, change in patch.items():
        if change is None:
            merged.pop(name, None)
        else:
            merged[name] = reference(merged.get(name), change)
    return merged


def merge(target: str | None, patch: str) -> str:
    return merge_patch(None if target is None else target.encode(), patch.encode()).decode()


# --- Meaning -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        # Appendix A, in its order; what is no object there is merged as a member here.
        ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
        ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
        ('{"a":"b"}', '{"a":null}', "{}"),
        ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
        ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
        ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
        ('{"a": {"b": "c"}}', '{"a": {"b": "d", "c": null}}', '{"a":{"b":"d"}}'),
        ('{"a": [ {"b":"c"} ] }', '{"a": [1]}', '{"a":[1]}'),
        ('{"m":["a","b"]}', '{"m":["c","d"]}', '{"m":["c","d"]}'),
        ('{"m":{"a":"b"}}', '{"m":["c"]}', '{"m":["c"]}'),
        ('{"m":{"a":"foo"}}', '{"m":null}', "{}"),
        ('{"m":{"a":"foo"}}', '{"m":"bar"}', '{"m":"bar"}'),
        ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
        ("[1,2]", '{"a":"b", "c":null}', '{"a":"b"}'),
        ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
    ],
)
def test_the_examples_of_the_rfc(target: str, patch: str, expected: str) -> None:
    assert merge(target, patch) == expected


def test_the_example_of_the_rfcs_third_section() -> None:
    target = """{
        "title": "Goodbye!",
        "author" : {"givenName" : "John", "familyName" : "Doe"},
        "tags":[ "example", "sample" ],
        "content": "This will be unchanged"
    }"""
    patch = """{
        "title": "Hello!", "phoneNumber": "+01-123-456-7890",
        "author": {"familyName": null}, "tags": [ "example" ]
    }"""
    assert merge(target, patch) == (
        '{"title":"Hello!","author":{"givenName":"John"},"tags":[ "example" ],'
        '"content":"This will be unchanged","phoneNumber":"+01-123-456-7890"}'
    )


@given(target=st.none() | JSON_TEXTS, patch=OBJECT_TEXTS)
@settings(max_examples=200, deadline=None)
def test_the_meaning_and_the_order_are_those_of_the_rfc(target: str | None, patch: str) -> None:
    merged = merge(target, patch)
    expected = reference(None if target is None else load(target), load(patch))

    assert load(merged) == expected
    assert json.dumps(load(merged)) == json.dumps(expected)  # the order too


@given(target=JSON_TEXTS, patch=OBJECT_TEXTS)
@settings(max_examples=100, deadline=None)
def test_to_merge_twice_changes_nothing_more(target: str, patch: str) -> None:
    once = merge(target, patch)
    assert merge(once, patch) == once


# --- Bytes ---------------------------------------------------------------------------------------

NEW = '"new":8'


@given(data=st.data(), names=spelled_names(), blank=BLANKS)
@settings(max_examples=150, deadline=None)
def test_what_is_not_touched_keeps_its_exact_bytes(
    data: st.DataObject, names: list[tuple[str, str]], blank: str
) -> None:
    values = [data.draw(JSON_TEXTS.map(str.strip)) for _ in names]
    touched = data.draw(st.sets(st.sampled_from([name for name, _ in names]))) if names else set()
    pairs = [
        f"{blank}{name[1]}{blank}:{blank}{text}{blank}"
        for name, text in zip(names, values, strict=True)
    ]
    patch = json.dumps({**dict.fromkeys(touched, 7), "new": 8})
    target = ",".join(pairs)
    expected = [
        f"{spelling}:{7 if name in touched else text}"
        for (name, spelling), text in zip(names, values, strict=True)
    ]
    assert merge(f"{{{target}}}", patch) == f"{{{','.join([*expected, NEW])}}}"


EXACT = (
    "1.0", "-0.0", "1e999", "12345678901234567890123", '"\\u00e9\\/\\ud83d\\ude00"', "[ 1 ,\t2 ]",
    '{ "a" : 1, "a" : 2, "\\u0061":{} }', "[[{}],null,[null]]",
)  # fmt: skip


@pytest.mark.parametrize("text", EXACT)
def test_a_value_is_kept_and_taken_over_as_it_is(text: str) -> None:
    assert merge(f'{{"kept": {text} }}', '{"x":1}') == f'{{"kept":{text},"x":1}}'
    assert merge(f'{{"o": {{"kept": {text} }} }}', '{"o":{"x":1}}') == (
        f'{{"o":{{"kept":{text},"x":1}}}}'
    )
    if not text.startswith("{"):
        assert merge(None, f'{{"taken": {text} }}') == f'{{"taken":{text}}}'


@given(target=OBJECT_TEXTS)
def test_an_empty_patch_keeps_every_byte_of_an_object(target: str) -> None:
    assert merge(target, " { } ") == target
    assert merge(f'{{"o": {target}}}', '{"o":{},"x":1}') == f'{{"o":{target.strip()},"x":1}}'


@pytest.mark.parametrize("target", [None, "[1]", "1", '"{}"', "null", " true ", "[{}]"])
def test_what_is_no_object_counts_as_an_empty_one(target: str | None) -> None:
    assert merge(target, "{}") == "{}"
    assert merge(target, '{"a":{"b":null,"c":[null]}}') == '{"a":{"c":[null]}}'


def test_a_name_keeps_the_spelling_of_the_target() -> None:
    target = r'{"\u0061":1,"b":2,"\/":3}'
    assert merge(target, r'{"a":9}') == r'{"\u0061":9,"b":2,"\/":3}'
    assert merge(target, r'{"\u0062":9}') == r'{"\u0061":1,"b":9,"\/":3}'
    assert merge('{"b":1}', r'{"\u0062":9,"\u0063":8}') == r'{"b":9,"\u0063":8}'
    assert merge(target, r'{"\u002f":null,"\u0061":null}') == '{"b":2}'


# --- What is refused -----------------------------------------------------------------------------

REPEATED = [
    '{"a":1,"a":1}',
    '{"a":1,"b":2,"a":3}',
    r'{"a":1,"\u0061":2}',
    r'{"\u0061":1,"a":2}',
    r'{"a\u003ab":1,"a:b":2}',  # one colon less in the text than in the name
    r'{"\u003a":1,"x":1,"x":2}',
    r'{"":"\\","":""}',
    r'{"a":12,"b\n":1,"a":1}',
    r'{"a":1,"b\n":1,"a":12}',
    '{"a":{},"a":null}',
]


@pytest.mark.parametrize("text", REPEATED)
def test_a_target_that_names_a_member_twice_cannot_be_merged(text: str) -> None:
    with pytest.raises(Unprocessable) as failure:
        merge(text, '{"z":1}')
    assert (failure.value.code, failure.value.faults[0].pointer) == ("not_mergeable", "")
    with pytest.raises(Unprocessable) as failure:
        merge(f'{{"x":{{"/~":{text}}}}}', '{"x":{"/~":{"z":null}}}')
    assert failure.value.faults[0].pointer == "/x/~1~0"


@pytest.mark.parametrize("text", REPEATED)
def test_a_patch_that_names_a_member_twice_is_malformed(text: str) -> None:
    for target in (None, "{}", "[]", text):
        with pytest.raises(BadInput) as failure:
            merge(target, text)
        assert failure.value.faults[0].pointer == ""
    for target in (None, "{}", '{"x":{"/~":{"k":1}}}'):
        with pytest.raises(BadInput) as failure:
            merge(target, f'{{"x":{{"/~":{text}}}}}')
        assert failure.value.faults[0].pointer == "/x/~1~0"


@given(target=objects(JSON_TEXTS, unique=False))
@settings(max_examples=200, deadline=None)
def test_every_repeated_name_is_found_and_no_other(target: str) -> None:
    names = [name for name, _ in json.loads(target, object_pairs_hook=list)]
    if len(set(names)) == len(names):
        assert load(merge(target, '{"new":1}')) == load(target) | {"new": "1"}
    else:
        with pytest.raises(Unprocessable):
            merge(target, '{"new":1}')


@pytest.mark.parametrize("text", REPEATED)
def test_members_that_are_not_merged_may_be_named_twice(text: str) -> None:
    assert merge(text, "{}") == text
    assert merge(f'{{"kept":{text}}}', '{"x":1}') == f'{{"kept":{text},"x":1}}'
    assert merge(f'{{"gone":{text}}}', '{"gone":null}') == "{}"
    assert merge(f'{{"set":{text}}}', '{"set":[1]}') == '{"set":[1]}'
    assert merge(None, f'{{"list":[{text}]}}') == f'{{"list":[{text}]}}'


# --- Size and depth ------------------------------------------------------------------------------


def nested(levels: int, inner: str) -> str:
    return '{"a":' * levels + inner + "}" * levels


def test_the_deepest_objects_merge() -> None:
    target, patch = nested(127, '{"kept": 1.0,"gone":1}'), nested(127, '{"new":2,"gone":null}')
    assert merge(target, patch) == nested(127, '{"kept":1.0,"new":2}')
    assert merge(None, patch) == nested(127, '{"new":2}')
    assert merge(target, '{"b":1}') == target[:-1] + ',"b":1}'


def test_many_members_merge() -> None:
    members = {f"\u00e9{i}": "x" * 100 for i in range(40_000)}
    for target in (json.dumps(members), json.dumps(members, ensure_ascii=False)):
        merged = merge(target, '{"new":1,"\u00e97":null}')
        assert load(merged) == {k: v for k, v in members.items() if k != "\u00e97"} | {"new": "1"}


def test_a_name_of_escapes_alone_takes_no_more_memory_than_others() -> None:
    target = b'{"' + b"\\n" * 200_000 + b'":1}'
    tracemalloc.start()
    try:
        assert merge_patch(target, b'{"b":2}') == target[:-1] + b',"b":2}'
        assert tracemalloc.get_traced_memory()[1] < 10 * len(target)
    finally:
        tracemalloc.stop()
