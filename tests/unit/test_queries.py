"""Query parameters parsed into the model."""

import pytest

from service.codec import digest
from service.errors import BadInput
from service.http.queries import parse_key_ttl, parse_page_limit, parse_removal, parse_window
from service.model import Window
from service.writes import Cut, Removal


@pytest.mark.parametrize(
    ("query", "window"),
    [
        ({}, Window(limit=50)),
        ({"last": "0"}, Window(limit=0)),
        ({"last": "5000"}, Window(limit=1_000)),
        ({"limit": "5000"}, Window(limit=1_000)),
        ({"after": "0", "before": "9"}, Window(limit=50, newest=False, after=0, before=9)),
        ({"before": "9", "limit": "2"}, Window(limit=2, before=9)),
        ({"since": "1970-01-01T00:00:00.0001Z"}, Window(limit=50, newest=False, since_ms=1)),
        ({"since": "12", "limit": "2"}, Window(limit=2, newest=False, since_ms=12)),
        ({"id": "m1"}, Window(limit=1, digest=digest("m1"))),
        ({"id": ""}, Window(limit=1, digest=digest(""))),
        ({"id": "m1", "max_bytes": "0"}, Window(limit=1, digest=digest("m1"), max_bytes=0)),
        ({"last": "3", "max_bytes": "99"}, Window(limit=3, max_bytes=99)),
        ({"max_bytes": "99"}, Window(limit=50, max_bytes=99)),
    ],
)
def test_a_query_says_which_messages(query: dict[str, str], window: Window) -> None:
    assert parse_window(query) == window


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("last since", "last since"),
        ("last id", "id last"),
        ("id since", "id since"),
        ("id before", "before id"),
        ("after before last max_bytes", "after before last"),
        ("after id last limit since", "after id last since"),
        ("last limit", "last limit"),
        ("id limit", "id limit"),
    ],
)
def test_two_ways_to_say_it_exclude_each_other(query: str, names: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_window(dict.fromkeys(query.split(), "1"))
    assert [fault.pointer for fault in caught.value.faults] == [
        f"/query/{n}" for n in names.split()
    ]


@pytest.mark.parametrize(
    ("query", "removal"),
    [
        ({}, Removal(cut=Cut.ALL)),
        ({"last": "0"}, Removal(cut=Cut.LAST)),
        ({"last": "5000"}, Removal(cut=Cut.LAST, number=1_000)),
        ({"before": "5000"}, Removal(cut=Cut.BEFORE, number=5_000)),
    ],
)
def test_a_query_says_which_messages_go(query: dict[str, str], removal: Removal) -> None:
    assert parse_removal(query) == removal


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("last", "-1"),
        ("limit", "0"),
        ("before", "281474976710656"),
        ("max_bytes", "\u0663"),
        ("since", "2024-01-01"),
        ("since", "9" * 15),
    ],
)
def test_what_is_out_of_range_is_pointed_at(name: str, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_window({name: text})
    assert [fault.pointer for fault in caught.value.faults] == [f"/query/{name}"]


def test_a_page_has_a_limit() -> None:
    assert [parse_page_limit(query) for query in ({}, {"limit": "1000"})] == [100, 1_000]
    with pytest.raises(BadInput):
        parse_page_limit({"limit": "1001"})


def test_a_removal_is_of_one_kind() -> None:
    with pytest.raises(BadInput) as caught:
        parse_removal({"last": "1", "before": "1"})
    assert [f.pointer for f in caught.value.faults] == ["/query/before", "/query/last"]


def test_a_value_in_a_path_takes_its_expiry_from_the_query() -> None:
    assert parse_key_ttl({}) is None
    assert parse_key_ttl({"key_ttl": "1.5"}) == 1_500


@pytest.mark.parametrize("text", ["", "null", '"1"', "0", "1e-9", "0.0001", "1s", "\u0663", "inf"])
def test_what_is_no_expiry_points_at_the_query(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_key_ttl({"key_ttl": text})
    assert [fault.pointer for fault in caught.value.faults] == ["/query/key_ttl"]
