"""The document (OpenAPI 3.1.1), put together from the routes, their entries and the types."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from service import __version__
from service.access import Scope
from service.http.openapi import admin, backups, headers, leases, messages, probes, sessions, state
from service.http.openapi.answers import Document
from service.http.openapi.contents import describe_content, describe_types
from service.http.openapi.operation import Example, Operation
from service.http.openapi.parameters import list_parameters
from service.http.openapi.problems import problem_responses
from service.http.openapi.responses import list_responses
from service.http.router import Endpoint

PAGES = {
    "sessions": sessions.OPERATIONS,
    "state": state.OPERATIONS,
    "messages": messages.OPERATIONS,
    "lease": leases.OPERATIONS,
    "backup": backups.OPERATIONS,
    "admin": admin.OPERATIONS,
    "service": probes.OPERATIONS,
}
INFO = {
    "title": "Ballast",
    "version": __version__,
    "summary": "Sessions and chat history of bots, in Redis.",
    "description": "JSON bodies may be application/json, *+json or of no content type. A name in a "
    "path is one percent-encoded segment. Examples of one name belong together; x-examples tells "
    "the status, what has to be called before, and which header comes from an earlier answer.",
    "license": {"name": "MIT", "identifier": "MIT"},
}
BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of API_KEY or API_KEYS; an operation names the least scope of it.",
}


def build_document(
    api: Mapping[str, Mapping[str, Endpoint]], open_routes: Mapping[str, Iterable[str]]
) -> Document:
    """Describe all routes. Raises LookupError for one that has no entry."""
    described = [
        *((path, it, endpoint.scope) for path, its in api.items() for it, endpoint in its.items()),
        *((path, it, None) for path, its in open_routes.items() for it in its),
    ]
    paths: dict[str, Document] = {}
    for path, method, scope in described:
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, scope)
    return {
        "openapi": "3.1.1",
        "info": INFO,
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in PAGES],
        "paths": paths,
        "components": {
            "schemas": describe_types(it for page in PAGES.values() for it in page.values()),
            "responses": problem_responses(),
            "headers": headers.TOLD,
            "securitySchemes": {"bearer": BEARER},
        },
    }


def _operation(method: str, path: str, scope: Scope | None) -> Document:
    """Describe a method that keys of this scope may call; None = no key is needed."""
    tag, operation = _entry(method, path)
    examples = {example.name or operation.id: example for example in operation.examples}
    return {
        "operationId": operation.id,
        "tags": [tag],
        "summary": operation.summary,
        "security": [] if scope is None else [{"bearer": [scope.name.lower()]}],
        "parameters": list_parameters(path, operation, examples),
        **_request_body(operation, examples),
        "responses": list_responses(operation, examples, is_open=scope is None),
        "x-examples": {name: _call(example) for name, example in examples.items()},
    }


def _request_body(operation: Operation, examples: Mapping[str, Example]) -> Document:
    if operation.body is None:
        return {}
    sent = {name: (example.media_type, example.body) for name, example in examples.items()}
    content = describe_content(operation.body, sent)
    return {"requestBody": {"required": not operation.body_is_optional, "content": content}}


def _entry(method: str, path: str) -> tuple[str, Operation]:
    """Find what is said of a method, and on which page; HEAD is GET without a body."""
    key = ("GET" if method == "HEAD" else method, path)
    tag, operation = next((tag, page[key]) for tag, page in PAGES.items() if key in page)
    return tag, _headed(operation) if method == "HEAD" else operation


def _headed(got: Operation) -> Operation:
    def renamed(name: str) -> str:
        return f"head{name[0].upper()}{name[1:]}"

    examples = (replace(it, name=renamed(it.name or got.id), answer=None) for it in got.examples)
    return replace(
        got,
        id=renamed(got.id),
        answers=dict.fromkeys(got.answers),
        examples=tuple(examples),
    )


def _call(example: Example) -> Document:
    """Return what no other place of an operation can tell of an example."""
    call: Document = {"status": example.status}
    if example.given:
        call["given"] = list(example.given)
    return call | ({"takes": dict(example.takes)} if example.takes else {})
