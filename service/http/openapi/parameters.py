"""Parameters of an operation: names in the path, the query, headers; each with its examples."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from service.http.names import MOST_SEQ
from service.http.openapi import headers
from service.http.openapi.answers import Document
from service.http.openapi.operation import Example, Operation
from service.http.schemas import ID, STATE_KEY

SEQ = msgspec.Meta(ge=1, le=MOST_SEQ, description="The place of a message in the log.")
PATH_NAMES: dict[str, Any] = {
    "id": Annotated[str, ID],
    "key": Annotated[str, STATE_KEY],
    "seq": Annotated[int, SEQ],
}
SAMPLE_ID = "chat-1"
"""The session of all examples."""


def list_parameters(
    path: str, operation: Operation, examples: Mapping[str, Example]
) -> list[Document]:
    """Return what may be said outside of the body."""
    return [
        *_path_names(path, examples),
        *_query(operation, examples),
        *_headers(operation, examples),
    ]


def _path_names(path: str, examples: Mapping[str, Example]) -> Iterator[Document]:
    given = {name: {"id": SAMPLE_ID, **example.path} for name, example in examples.items()}
    for name in re.findall(r"{(\w+)}", path):
        schema = msgspec.json.schema(PATH_NAMES[name])
        yield _parameter("path", name, schema, given) | {"required": True}


def _query(operation: Operation, examples: Mapping[str, Example]) -> Iterator[Document]:
    if operation.query is None:
        return
    given = {name: example.query for name, example in examples.items()}
    _, structs = msgspec.json.schema_components([operation.query])
    for name, schema in structs[operation.query.__name__]["properties"].items():
        yield _parameter("query", name, schema, given)


def _headers(operation: Operation, examples: Mapping[str, Example]) -> Iterator[Document]:
    given = {name: example.headers for name, example in examples.items()}
    for name in operation.kind.sent:
        yield _parameter("header", name, dict(headers.SENT[name]), given)


def _parameter(
    place: str, name: str, schema: Document, given: Mapping[str, Mapping[str, Any]]
) -> Document:
    """Return a parameter; a schema's description is told once, outside of it."""
    shown = {title: {"value": values[name]} for title, values in given.items() if name in values}
    parameter = {
        "name": name,
        "in": place,
        "description": schema.pop("description"),
        "schema": schema,
    }
    return parameter | ({"examples": shown} if shown else {})
