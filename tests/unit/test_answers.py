"""The model as JSON and headers."""

import orjson
import pytest
from msgspec.structs import replace

from service.errors import Fault, PreconditionFailed, ServiceError, Unavailable, Unprocessable
from service.http.answers import (
    check_read_conditions,
    json_response,
    page_document,
    session_document,
    session_headers,
    values_document,
)
from service.http.problems import problem_response
from service.model import (
    ANY,
    Conditions,
    ETag,
    Message,
    Session,
    SessionId,
    StateKey,
    StoredValue,
    Touch,
    Value,
)
from tests.store_calls import page_of

ETAG = ETag(gen="g", rev=7)
SESSION = Session(
    id=SessionId("a"),
    etag=ETAG,
    created_at_ms=0,
    updated_at_ms=1,
    renewed_at_ms=1_000,
    ttl_ms=1_500,
    touch=Touch.WRITE,
    max_age_ms=None,
    max_messages=5,
    message_count=2,
    state_key_count=1,
)


@pytest.mark.parametrize(
    ("now_ms", "seconds"),
    [(0, b"3"), (1_499, b"2"), (1_500, b"1"), (2_499, b"1"), (2_500, b"0"), (9_999, b"0")],
)
def test_the_time_that_is_left_is_rounded_up(now_ms: int, seconds: bytes) -> None:
    assert dict(session_headers(SESSION, now_ms)) == {
        b"etag": b'"g-7"',
        b"session-expires": b"1970-01-01T00:00:02.500Z",
        b"session-ttl": seconds,
    }


def test_never_has_no_headers() -> None:
    assert session_headers(replace(SESSION, ttl_ms=None), 0) == [(b"etag", b'"g-7"')]
    assert session_document(replace(SESSION, ttl_ms=None))["expires_at"] is None


def test_whole_seconds_are_whole_numbers() -> None:
    document = json_response(session_document(replace(SESSION, max_age_ms=2_000))).body

    assert b'"ttl":1.5,' in document
    assert b'"max_age":2,' in document


def test_stored_bytes_are_spliced_in() -> None:
    messages = (Message(3, 4, b'{"a":1.0,"a":1e999}'),)
    body = json_response(page_document(page_of(messages, messages), 1)).body
    assert b'"message":{"a":1.0,"a":1e999}}' in body

    values = {
        StateKey("j"): StoredValue(Value(b" [1.0] "), 1),
        StateKey("r"): StoredValue(Value(b"\xff", "a/b", is_json=False), 1),
        StateKey("n"): None,
    }
    body = json_response(values_document(values)).body
    assert body == b'{"j": [1.0] ,"r":{"$raw":"/w==","type":"a/b"},"n":null}'


def test_a_page_points_on_only_where_there_is_more() -> None:
    messages = (Message(3, 0, b"{}"), Message(4, 0, b"{}"))
    page = page_of(messages, messages)
    within = replace(page, first_seq=1, last_seq=9)

    assert (page_document(page, 2)["next"], page_document(page, 2)["prev"]) == (None, None)
    assert (page_document(within, 9)["next"], page_document(within, 9)["prev"]) == (4, 3)


@pytest.mark.parametrize(
    ("conditions", "has_it"),
    [
        (Conditions(), False),
        (Conditions(if_none_match=("g-7",)), True),
        (Conditions(if_none_match=(ANY,)), True),
        (Conditions(if_none_match=("g-8", "x")), False),
        (Conditions(if_match=("g-7",), if_none_match=("x",)), False),
        (Conditions(if_match=(ANY,)), False),
    ],
)
def test_a_reader_may_have_it_already(conditions: Conditions, *, has_it: bool) -> None:
    assert check_read_conditions(conditions, ETAG) is has_it


@pytest.mark.parametrize("tags", [(), ("g-8",), ("x", "y")])
def test_a_condition_that_fails_tells_what_is_there(tags: tuple[str, ...]) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        check_read_conditions(Conditions(if_match=tags), ETAG)
    assert caught.value.etag == '"g-7"'


def test_every_error_has_a_status_a_title_and_a_code_of_its_own() -> None:
    kinds = ServiceError.__subclasses__()

    assert len({kind.default_code for kind in kinds}) == len(kinds)
    assert len({kind.status for kind in kinds}) == len(kinds)
    assert all(kind.title for kind in kinds)


def test_an_error_says_when_to_come_back() -> None:
    response = problem_response(Unavailable("No.", retry_after_seconds=5), "id")

    assert response.status_code == 503
    assert (b"retry-after", b"5") in response.headers


def test_what_cannot_be_processed_points_at_the_place() -> None:
    fault = Fault("/merge/k", "names must be unique")
    response = problem_response(Unprocessable("No.", fault, code="not_mergeable"), "id")

    document = orjson.loads(response.body)
    assert (response.status_code, document["code"]) == (422, "not_mergeable")
    assert document["errors"] == [{"pointer": "/merge/k", "reason": "names must be unique"}]


def test_an_error_without_a_place_points_nowhere() -> None:
    response = problem_response(Unprocessable("No.", code="idempotency_key_reused"), "id")

    assert "errors" not in orjson.loads(response.body)
