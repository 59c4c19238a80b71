"""One entry of the document: what a route takes and answers, and examples of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from service.http.openapi.kinds import Kind
from service.model import JSON_TYPE


@dataclass(frozen=True, slots=True)
class Binary:
    """A body of the content types that are no JSON; it is told from JSON by its type alone."""


Shape = type[Struct] | tuple[type[Struct], ...] | Binary | None
"""What a body is: a document, one of several, bytes, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A request and its answer. `name` is the operation's id where it is left empty.

    `given` names the examples that are run before, on an empty Redis. `takes` replaces a header or
    query parameter by what an earlier answer has at a JSON pointer: {"Lease-Token": "name/token"}.
    """

    name: str = ""
    path: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    media_type: str = JSON_TYPE
    status: int = 200
    answer: Any = None
    given: tuple[str, ...] = ()
    takes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a method of a path takes and answers; `problems` are those beyond its kind's."""

    id: str
    summary: str
    kind: Kind
    query: type[Struct] | None = None
    body: type[Struct] | Binary | None = None
    body_is_optional: bool = False
    answers: Mapping[int, Shape]
    problems: tuple[int, ...] = ()
    examples: tuple[Example, ...]


Operations = dict[tuple[str, str], Operation]
"""By method and path."""
