"""Errors as problem details (RFC 9457)."""

from typing import Any

import orjson

from service.errors import (
    BadInput,
    Fault,
    HeadersTooLarge,
    Locked,
    MethodNotAllowed,
    NotFound,
    PreconditionFailed,
    ServiceError,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unprocessable,
)
from service.http.answers import REPLAYED
from service.http.headers import Line
from service.http.response import Response

PROBLEM_TYPE = "application/problem+json"


_PROBLEM: Line = (b"content-type", PROBLEM_TYPE.encode())


def problem_response(error: ServiceError, request_id: str) -> Response:
    """Return the answer to a request that failed."""
    document = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
        **_members(error),
    }
    return Response(orjson.dumps(document), error.status, (_PROBLEM, *_headers(error)))


def _members(error: ServiceError) -> dict[str, Any]:
    members: dict[str, Any]
    match error:
        case BadInput(faults=faults) | Unprocessable(faults=faults):
            members = _errors(faults)
        case TooLarge(faults=faults, limit=limit):
            members = {"limit": limit} | _errors(faults)
        case HeadersTooLarge(limit=limit):
            members = {"limit": limit}
        case PreconditionFailed(etag=etag):
            members = {"etag": etag}
        case Unavailable(outcome=outcome):
            members = {"outcome": outcome}
        case NotFound(has_backup=True):
            members = {"backup": True}
        case _:
            members = {}
    return members


def _errors(faults: tuple[Fault, ...]) -> dict[str, Any]:
    errors = [{"pointer": fault.pointer, "reason": fault.reason} for fault in faults]
    return {"errors": errors} if errors else {}


def _headers(error: ServiceError) -> list[Line]:
    headers = _own_headers(error)
    return [*headers, REPLAYED] if error.is_replayed else headers


def _own_headers(error: ServiceError) -> list[Line]:
    match error:
        case NotFound(age_seconds=float(age)):
            return [(b"age", b"%d" % age)]
        case Unauthorized():
            return [(b"www-authenticate", b"Bearer")]
        case MethodNotAllowed(allow=allow):
            return [(b"allow", ", ".join(allow).encode())]
        case Unavailable(retry_after_seconds=seconds) | Locked(retry_after_seconds=int(seconds)):
            return [(b"retry-after", b"%d" % seconds)]
        case PreconditionFailed(etag=str(etag)):
            return [(b"etag", etag.encode())]
        case _:
            return []
