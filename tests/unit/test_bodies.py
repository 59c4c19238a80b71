"""Bodies parsed into the model."""

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import digest
from service.errors import BadInput, TooLarge
from service.http.bodies import (
    parse_append,
    parse_batch,
    parse_copy,
    parse_extension,
    parse_lease,
    parse_replace,
    parse_settings,
    parse_settings_patch,
)
from service.http.schemas import MOST_REPLACED, MOST_SECONDS
from service.http.values import check_json_value, check_media_type
from service.model import Limits, Touch, Value
from service.writes import SettingsChange

LIMITS = Limits()


def settings_of(body: str) -> SettingsChange:
    return parse_settings(body.encode())


def refused(parse: Callable[[], object], error: type[BadInput | TooLarge] = BadInput) -> list[str]:
    with pytest.raises((BadInput, TooLarge)) as caught:
        parse()
    assert isinstance(caught.value, error)
    assert all(fault.reason for fault in caught.value.faults)
    return [fault.pointer for fault in caught.value.faults]


@given(st.integers(1, MOST_SECONDS * 1_000))
def test_every_millisecond_can_be_said(ms: int) -> None:
    for text in (str(Decimal(ms) / 1_000), f"{ms}e-3", f"{ms}E-03", f"{ms}00e-5"):
        assert settings_of(f'{{"ttl":{text}}}') == SettingsChange(ttl_ms=ms)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_no_other_number_becomes_seconds(number: Decimal) -> None:
    with suppress(BadInput):
        change = settings_of(f'{{"ttl":{number}}}')
        assert change.ttl_ms
        assert Decimal(change.ttl_ms) == number * 1_000


def test_null_is_never_where_a_setting_has_it() -> None:
    assert settings_of('{"ttl":null,"max_age":null}') == SettingsChange(ttl_ms=0, max_age_ms=0)
    for name in ("touch", "max_messages"):
        with pytest.raises(BadInput):
            settings_of(f'{{"{name}":null}}')


@pytest.mark.parametrize(
    "body",
    [
        '{"ttl":"1"}',
        '{"ttl":[]}',
        '{"max_age":0.0009}',
        '{"max_messages":0}',
        '{"max_messages":1000001}',
        '{"max_messages":1.5}',
        '{"touch":"sometimes"}',
        '{"touch":1}',
    ],
)
def test_a_setting_that_cannot_be_is_pointed_at(body: str) -> None:
    assert refused(lambda: settings_of(body)) == [f"/{body.split(chr(34))[1]}"]
    for ok in ('{"max_messages":1}', '{"max_messages":1000000}', '{"max_age":0.001}'):
        settings_of(ok)


def test_settings_that_are_not_named_are_kept() -> None:
    assert settings_of("{}") == SettingsChange()
    assert settings_of('{"touch":"access"}') == SettingsChange(touch=Touch.ACCESS)


def test_an_append_keeps_texts_and_knows_identities() -> None:
    body = b'{"dedupe":"id","messages":[{"id":"a"}, {"id" : 1.0},{"x":{"id":3}},{"id":-5}]}'
    append, identities = parse_append(body, LIMITS)

    assert append.messages == (b'{"id":"a"}', b'{"id" : 1.0}', b'{"x":{"id":3}}', b'{"id":-5}')
    assert identities == [b'"a"', None, None, b"-5"]
    assert append.digests == (digest("a"), b"", b"", digest("-5"))


def test_a_batch_tells_sets_from_deletes() -> None:
    write = parse_batch(b'{"set":{"a": 1 ,"b": null},"get":["a","c","a"],"ttl":1}', LIMITS)

    assert {key: value.data for key, value in write.sets.items()} == {"a": b"1"}
    assert (write.deletes, write.gets) == (("b",), ("a", "c"))
    assert write.change == SettingsChange(ttl_ms=1_000)


def test_an_object_that_only_mentions_raw_is_json() -> None:
    for text in (b'{"x":{"$raw":"AA==","type":"a/b"}}', b'["$raw"]', b'{"x":"$raw"}'):
        write = parse_batch(b'{"set":{"k":' + text + b"}}", LIMITS)
        assert list(write.sets.values()) == [Value(text)]


def test_raw_values_are_bytes_of_a_type_that_is_not_json() -> None:
    write = parse_batch(b'{"set":{"k":{"$raw":"AAE=","type":"a/b"}}}', LIMITS)
    assert write.sets == {"k": Value(b"\x00\x01", "a/b", is_json=False)}
    for sent, pointer in (
        ('{"$raw":"AA=="}', "/set/k"),
        ('{"$raw":"AA==","type":""}', "/set/k/type"),
        ('{"$raw":"AA==","type":"application/json"}', "/set/k/type"),
        ('{"$raw":"AA==","type":"a/b","type":"a/b"}', "/set/k"),
    ):
        body = f'{{"set":{{"k":{sent}}}}}'.encode()
        assert refused(lambda body=body: parse_batch(body, LIMITS)) == [pointer]  # type: ignore[misc]


def test_every_unknown_member_is_told_up_to_a_bound() -> None:
    assert refused(lambda: settings_of('{"a":1,"ttl":2,"b/c":3}')) == ["/a", "/b~1c"]

    many = ",".join(f'"{number}":1' for number in range(1_000))
    assert len(refused(lambda: settings_of(f"{{{many}}}"))) == 50


def test_a_member_that_has_to_be_there_is_pointed_at() -> None:
    for parse in (parse_append, parse_replace):
        assert refused(lambda parse=parse: parse(b"{}", LIMITS)) == ["/messages"]  # type: ignore[misc]
    assert refused(lambda: parse_copy(b"{}")) == ["/to"]


def test_null_in_a_patch_is_the_default() -> None:
    defaults = SettingsChange(ttl_ms=9, touch=Touch.NEVER, max_age_ms=0, max_messages=3)
    body = b'{"ttl":null,"touch":null,"max_age":null,"max_messages":null}'

    assert parse_settings_patch(body, defaults) == defaults
    assert parse_settings_patch(b"{}", defaults) == SettingsChange()


def test_a_batch_keeps_the_text_of_its_patches() -> None:
    body = b'{"merge":{"a":{"x": 1.0, "y":null},"b/c":{}},"set":{"d":1},"key_ttl":0.5}'
    write = parse_batch(body, LIMITS)

    assert write.merges == {"a": b'{"x": 1.0, "y":null}', "b/c": b"{}"}
    assert write.key_ttl_ms == 500
    assert parse_batch(b"{}", LIMITS).key_ttl_ms is None


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ('{"merge":{"a/b":1}}', ["/merge/a~1b"]),
        ('{"merge":{"a":null}}', ["/merge/a"]),
        ('{"merge":{"a":[]}}', ["/merge/a"]),
        ('{"merge":{"a":{},"a":{}}}', ["/merge"]),
        ('{"merge":{"":{}}}', ["/merge/"]),
        ('{"merge":[]}', ["/merge"]),
        ('{"merge":{"a":{},"b":{},"c":{}},"set":{"a":1,"c":null}}', ["/merge/a", "/merge/c"]),
        ('{"merge":{"a":{"b":{"c":{}}}}}', ["/merge/a"]),
        ('{"key_ttl":1}', ["/key_ttl"]),
        ('{"key_ttl":1,"merge":{"a":{}}}', ["/key_ttl"]),
        ('{"key_ttl":null,"set":{}}', ["/key_ttl"]),
        ('{"get":["a",1]}', ["/get"]),
    ],
)
def test_what_is_wrong_in_a_batch_is_pointed_at(body: str, pointers: list[str]) -> None:
    limits = Limits(max_json_depth=2)
    assert refused(lambda: parse_batch(body.encode(), limits)) == pointers


def test_a_patch_is_bounded_as_a_value_is() -> None:
    limits = Limits(max_value_bytes=9)
    parse_batch(b'{"merge":{"a":{"b":123}}}', limits)
    over = refused(lambda: parse_batch(b'{"merge":{"a":{"b":1234}}}', limits), TooLarge)
    assert over == ["/merge/a"]


def test_keys_of_all_kinds_count_together() -> None:
    body, limits = b'{"get":["a"],"set":{"b":1},"merge":{"c":{}}}', Limits(max_keys_per_call=2)
    assert refused(lambda: parse_batch(body, limits), TooLarge) == [""]
    parse_batch(body, Limits(max_keys_per_call=3))


def test_a_replacement_may_be_empty_and_skips_nothing() -> None:
    assert parse_replace(b'{"messages":[]}', LIMITS).messages == ()
    body = b'{"messages":[{"id":1},{"id":1}],"dedupe":"id","ttl":1,"max_messages":2}'
    replace = parse_replace(body, LIMITS)

    assert replace.messages == (b'{"id":1}', b'{"id":1}')
    assert replace.digests == (digest("1"), digest("1"))
    assert replace.change == SettingsChange(ttl_ms=1_000, max_messages=2)


def test_a_replacement_has_a_bound_of_its_own() -> None:
    def body(count: int) -> bytes:
        return b'{"messages":[' + b",".join([b"{}"] * count) + b"]}"

    assert len(parse_replace(body(MOST_REPLACED), LIMITS).messages) == MOST_REPLACED
    for count in (MOST_REPLACED + 1, 100_001):
        over = refused(lambda count=count: parse_replace(body(count), LIMITS), TooLarge)  # type: ignore[misc]
        assert over == ["/messages"]


def test_an_append_has_at_least_one_message_and_only_objects() -> None:
    assert refused(lambda: parse_append(b'{"messages":[]}', LIMITS)) == ["/messages"]
    assert refused(lambda: parse_append(b'{"messages":[{},1]}', LIMITS)) == ["/messages/1"]
    assert refused(lambda: parse_append(b'{"messages":[{}],"dedupe":1}', LIMITS)) == ["/dedupe"]


def test_a_lease_is_thirty_seconds_and_waits_for_none_unless_told() -> None:
    assert parse_lease(b"{}") == (30_000, 0)
    assert parse_lease(b'{"ttl":0.1,"wait":20}') == (100, 20_000)
    assert [parse_extension(body) for body in (b"{}", b'{"ttl":3600}')] == [30_000, 3_600_000]


@pytest.mark.parametrize("wait", ["-0.001", "20.001", "1e-9", "1e-999999999", '"0"', "null"])
def test_a_wait_is_in_steps_within_its_range(wait: str) -> None:
    assert refused(lambda: parse_lease(f'{{"wait":{wait}}}'.encode())) == ["/wait"]


@pytest.mark.parametrize("name", ["", ".", "..", "a\\n", "x" * 257])
def test_a_copy_is_given_an_id_that_a_path_can_name(name: str) -> None:
    assert parse_copy(b'{"to":"a/b"}') == "a/b"
    assert refused(lambda: parse_copy(f'{{"to":"{name}"}}'.encode())) == ["/to"]
    assert refused(lambda: parse_copy(b'{"to":1}')) == ["/to"]


@pytest.mark.parametrize(
    "media_type", ["", "a\r\nb", "a\nb", "a\x00", "a\x7f", "\u00e9", " a", "a "]
)
def test_a_media_type_is_one_line_of_ascii(media_type: str) -> None:
    with pytest.raises(BadInput):
        check_media_type(media_type, "")
    check_media_type('a/b; c="d e"', "")


def test_a_value_is_checked_for_null_size_and_depth() -> None:
    for text, error in ((b" null ", BadInput), (b"[[[[1]]]]", BadInput), (b'"12345678"', TooLarge)):
        with pytest.raises(error):
            check_json_value(text, "", Limits(max_value_bytes=9, max_json_depth=3))
    check_json_value(b"[[[1]]]", "", Limits(max_value_bytes=9, max_json_depth=3))
