"""Bodies parsed into the model."""

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import digest
from service.errors import BadInput, TooLarge
from service.http.bodies import (
    MOST_SECONDS,
    check_json_value,
    check_media_type,
    parse_append,
    parse_batch,
    parse_members,
    parse_settings,
)
from service.model import Limits, SettingsChange, Touch, Value

LIMITS = Limits()


def settings_of(body: str) -> SettingsChange:
    return parse_settings(parse_members(body.encode(), ("ttl", "touch", "max_age", "max_messages")))


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


def test_every_unknown_member_is_told_up_to_a_bound() -> None:
    with pytest.raises(BadInput) as few:
        parse_members(b'{"a":1,"known":2,"b/c":3}', ("known",))
    assert [fault.pointer for fault in few.value.faults] == ["/a", "/b~1c"]

    many = ",".join(f'"{number}":1' for number in range(1_000))
    with pytest.raises(BadInput) as caught:
        parse_members(f"{{{many}}}".encode(), ("known",))
    assert len(caught.value.faults) == 50


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
