"""Header lines found by their names."""

from service.http.headers import Headers


def test_a_header_is_found_by_its_name() -> None:
    headers = Headers([(b"a", b"1"), (b"b", b"\xe9")])

    assert (headers[b"a"], headers.text(b"b"), headers.text(b"c")) == (b"1", "\u00e9", "")
    assert headers.repeated == frozenset()


def test_lines_of_one_name_are_one_value_and_are_told() -> None:
    headers = Headers([(b"a", b"1"), (b"b", b"2"), (b"a", b""), (b"a", b"1, 3")])

    assert headers == {b"a": b"1, , 1, 3", b"b": b"2"}
    assert headers.repeated == {b"a"}
