"""Bodies by content type: their schemas from the types, and their examples."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec

from service.http.openapi.answers import REF, Document, Problem
from service.http.openapi.operation import Binary, Operation, Shape
from service.http.schemas import VALUE, RawValue
from service.model import JSON_TYPE


def describe_content(shape: Shape, bodies: Mapping[str, tuple[str, Any]]) -> Document:
    """Return the content of a body; `bodies` has the content type and value of each example."""
    content: Document = {JSON_TYPE: {"schema": _schema(shape)}}
    content |= {media_type: {} for media_type, _ in bodies.values() if media_type not in content}
    for name, (media_type, body) in bodies.items():
        content[media_type].setdefault("examples", {})[name] = {"value": body}
    return content | ({"*/*": {}} if isinstance(shape, Binary) else {})


def describe_types(operations: Iterable[Operation]) -> Document:
    """Return the schemas of all documents that the operations take and answer."""
    found = [Problem, RawValue]
    for operation in operations:
        for shape in (operation.body, *operation.answers.values()):
            found += _documents(shape)
    return msgspec.json.schema_components(dict.fromkeys(found), ref_template=f"{REF}{{name}}")[1]


def _documents(shape: Shape) -> tuple[type[msgspec.Struct], ...]:
    if isinstance(shape, tuple):
        return shape
    return () if shape is None or isinstance(shape, Binary) else (shape,)


def _schema(shape: Shape) -> Document:
    if isinstance(shape, Binary):
        return msgspec.json.schema(Annotated[msgspec.Raw, VALUE])
    refs = [{"$ref": f"{REF}{document.__name__}"} for document in _documents(shape)]
    return refs[0] if len(refs) == 1 else {"oneOf": refs}
