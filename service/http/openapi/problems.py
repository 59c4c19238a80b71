"""Errors by status: their codes, and what they carry beside the document."""

from service.errors import ServiceError
from service.http.openapi.answers import REF, Document
from service.http.problems import PROBLEM_TYPE

KINDS = {kind.status: kind for kind in ServiceError.__subclasses__()}
"""One class of errors a status."""

REFINED = {
    404: (
        "session_not_found",
        "key_not_found",
        "message_not_found",
        "backup_not_found",
        "no_such_path",
    ),
    409: (
        "dedupe_mismatch",
        "session_exists",
        "not_lease_owner",
        "idempotency_in_progress",
        "trace_in_progress",
    ),
    422: ("idempotency_key_reused", "not_mergeable", "backup_damaged"),
    423: ("wrong_lease",),
    503: ("journal_full", "overloaded", "relief_failed", "stopping"),
}
"""Codes beside the one that the class has."""

HEADERS = {
    401: ("WWW-Authenticate",),
    404: ("Idempotency-Replayed",),
    405: ("Allow",),
    412: ("ETag", "Idempotency-Replayed"),
    413: ("Idempotency-Replayed",),
    423: ("Retry-After",),
    503: ("Retry-After",),
}


def problem_responses() -> Document:
    """Return one answer for each class of errors."""
    return {kind.__name__: _response(kind) for kind in KINDS.values()}


def problem_ref(status: int) -> str:
    """Return where the answer of a status is found."""
    return f"#/components/responses/{KINDS[status].__name__}"


def _response(kind: type[ServiceError]) -> Document:
    codes = [kind.default_code, *REFINED.get(kind.status, ())]
    properties = {"status": {"const": kind.status}, "code": {"enum": codes}}
    schema = {"allOf": [{"$ref": f"{REF}Problem"}, {"properties": properties}]}
    names = ("X-Request-Id", *HEADERS.get(kind.status, ()))
    return {
        "description": kind.title,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {PROBLEM_TYPE: {"schema": schema}},
    }
