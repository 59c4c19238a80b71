"""The OpenAPI document is true: its examples are run, its ranges tried at both edges."""

from collections.abc import Iterator
from typing import Any

import pytest
from httpx import AsyncClient

from service.http.openapi.document import build_document
from service.http.openapi.parameters import SAMPLE_ID
from service.http.routes import API_ROUTES, OPEN_ROUTES
from tests.app.calls import plant_backup
from tests.openapi_examples import Document, Examples
from tests.polling import eventually
from tests.problems import assert_problem
from tests.servers import Server
from tests.store_calls import ref_of

EXAMPLES = Examples(build_document(API_ROUTES, OPEN_ROUTES))
WINDOW = {"last", "after", "before", "since", "id", "limit", "max_bytes"}
STANDARD = {
    "content-type",
    "content-length",
    "location",
    "x-content-type-options",
    "content-security-policy",
}
OPEN = {"Health", "AnyObject", "Relieved", "Allocations"}
"""Answers of which an example shows only some members, or lists of another length."""

TOO_LONG = ("traceLeak", "body", "seconds", 60)
"""An edge that takes a minute."""

Edge = tuple[str, str, str, Any]
"""An example, a place in its request, the name there, and a value at or beyond an edge."""


async def test_the_document_is_answered_without_a_key(api: AsyncClient) -> None:
    response = await api.get("/openapi.json")

    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == EXAMPLES.document
    assert (await api.head("/openapi.json")).status_code == 200


async def test_the_example_of_a_repetition_is_one(api: AsyncClient) -> None:
    assert "Idempotency-Replayed" not in (await EXAMPLES.run(api, "appendOnce")).headers
    replayed = await EXAMPLES.run(api, "appendOnceMore")
    assert replayed.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("name", EXAMPLES.names())
async def test_an_example_is_answered_as_it_says(
    api: AsyncClient, valkey: Server, name: str
) -> None:
    await plant_backup(valkey.url, ref_of(SAMPLE_ID), {"creds": b"1", "flow": b"2"})
    await eventually(lambda: api.get("/health/ready"), lambda response: response.is_success)
    response = await EXAMPLES.run(api, name)

    assert response.status_code == EXAMPLES.status(name), response.text
    described, media_type, example = EXAMPLES.answer(name)
    told = {header.lower() for header in described["headers"]}
    assert response.headers.keys() - STANDARD <= told
    if media_type is None:
        assert not response.content
        return
    assert response.headers["Content-Type"] == media_type
    if media_type != "application/json":
        assert response.text == example
        return
    schema = described["content"][media_type]["schema"]
    EXAMPLES.validate(schema, response.json())
    EXAMPLES.validate(schema, example)
    assert_same_members(example, response.json(), is_open=is_open(schema))


def is_open(schema: Document) -> bool:
    """Whether an example shows only some members of what is answered."""
    return schema.get("$ref", "").rpartition("/")[2] in OPEN


def assert_same_members(example: object, answer: object, *, is_open: bool = False) -> None:
    assert type(example) is type(answer)
    if isinstance(example, dict) and isinstance(answer, dict):
        assert example.keys() <= answer.keys()
        assert is_open or example.keys() == answer.keys()
        for name, value in example.items() if not is_open else ():
            assert_same_members(value, answer[name])
    if isinstance(example, list) and isinstance(answer, list):
        assert len(example) == len(answer)
        for one, other in zip(example, answer, strict=True):
            assert_same_members(one, other)


def members(operation: Document) -> Iterator[tuple[str, str, Document]]:
    """Yield place, name and schema of what is said in a request."""
    for parameter in operation["parameters"]:
        if parameter["in"] != "header":
            yield parameter["in"], parameter["name"], parameter["schema"]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    component = EXAMPLES.document["components"]["schemas"].get(name, {})
    for member, schema in component.get("properties", {}).items():
        yield "body", member, next(iter(schema.get("anyOf", ())), schema)


def named_by(operation: Document, place: str, name: str) -> list[str]:
    """Return the examples of an operation that say something at a place."""
    found = []
    for example in operation["x-examples"]:
        call = EXAMPLES.call(example)
        said = {"path": call.names, "query": call.query, "body": call.body}[place] or {}
        found += [example] if name in said else []
    return found


def edges(*, is_inside: bool) -> list[Edge]:
    return [
        (example, place, name, value)
        for method, _, operation in EXAMPLES.operations()
        if method != "HEAD"
        for place, name, schema in members(operation)
        for example in named_by(operation, place, name)[:1]
        for value in values_at_edges(schema, is_inside=is_inside)
        if (example, place, name, value) != TOO_LONG
    ]


def values_at_edges(schema: Document, *, is_inside: bool) -> list[Any]:
    step = 0 if is_inside else 0.001 if schema.get("type") == "number" else 1
    low = [round(schema[word] - step, 3) for word in ("minimum", "minLength") if word in schema]
    high = [round(schema[word] + step, 3) for word in ("maximum", "maxLength") if word in schema]
    if schema.get("type") == "string":
        return ["x" * int(length) for length in (*low, *high)]
    return [*low, *high]


def title(value: object) -> str | None:
    return f"{len(value)} bytes" if isinstance(value, str) and len(value) > 40 else None


@pytest.mark.parametrize(("example", "place", "name", "value"), edges(is_inside=True), ids=title)
async def test_the_edge_of_a_range_is_accepted(
    api: AsyncClient, example: str, place: str, name: str, value: object
) -> None:
    call = EXAMPLES.call(example).with_value(place, name, value)
    response = await EXAMPLES.run(api, example, call)
    assert response.status_code != 400, response.text


@pytest.mark.parametrize(("example", "place", "name", "value"), edges(is_inside=False), ids=title)
async def test_beyond_the_edge_of_a_range_is_refused_at_its_place(
    api: AsyncClient, example: str, place: str, name: str, value: object
) -> None:
    call = EXAMPLES.call(example).with_value(place, name, value)
    response = await EXAMPLES.run(api, example, call)
    at = f"/{name}" if place == "body" else f"/{place}/{name}"
    assert_problem(response, 400, at=at)


def test_each_member_is_in_an_example_of_its_operation() -> None:
    silent = {
        (operation["operationId"], place, name)
        for method, _, operation in EXAMPLES.operations()
        if method != "HEAD"
        for place, name, _ in members(operation)
        if not named_by(operation, place, name)
    }
    # What is shown with the messages themselves, and what only an earlier page can tell.
    silent -= {("getSession", "query", name) for name in WINDOW} | {
        ("listSessions", "query", "cursor")
    }
    assert silent == set()
