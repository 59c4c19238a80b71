"""Answers of an operation by status: what it is for, and the errors that it can meet."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from service.http.openapi.answers import Document
from service.http.openapi.contents import describe_content
from service.http.openapi.operation import Example, Operation
from service.http.openapi.problems import problem_ref

_API_PROBLEMS = (400, 401, 403, 431, 500, 503)
_OPEN_PROBLEMS = (431, 500)
_BODY_PROBLEMS = (408, 413, 415)
_API_HEADERS = ("X-Request-Id", "Cache-Control")
_OPEN_HEADERS = ("X-Request-Id",)


def list_responses(
    operation: Operation, examples: Mapping[str, Example], *, is_open: bool
) -> Document:
    """Return all that an operation may answer, in the order of the statuses."""
    names = (*(_OPEN_HEADERS if is_open else _API_HEADERS), *operation.kind.told)
    told = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    found: dict[int, Document] = {
        status: {"$ref": problem_ref(status)}
        for status in _problems(operation, _OPEN_PROBLEMS if is_open else _API_PROBLEMS)
    }
    for status, shape in operation.answers.items():
        found[status] = {"description": HTTPStatus(status).phrase, "headers": told}
        if shape is not None:
            found[status]["content"] = describe_content(shape, _answered(status, examples))
    return {str(status): found[status] for status in sorted(found)}


def _problems(operation: Operation, common: tuple[int, ...]) -> set[int]:
    found = {*common, *operation.kind.problems, *operation.problems}
    return found | {*_BODY_PROBLEMS} if operation.body else found


def _answered(status: int, examples: Mapping[str, Example]) -> dict[str, tuple[str, Any]]:
    return {
        name: (example.media_type, example.answer)
        for name, example in examples.items()
        if example.status == status
    }
