"""Headers of requests and answers that mean something to the service's users."""

from service.http.openapi.answers import Document

_TEXT = {"type": "string"}
_SECONDS = {"type": "integer", "minimum": 0}

SENT: dict[str, Document] = {
    "If-Match": {
        "description": "Go on only if the ETag is one of these; * = if it is there.",
        "type": "string",
    },
    "If-None-Match": {
        "description": "Go on only if the ETag is none of these; * = if it is not there.",
        "type": "string",
    },
    "Idempotency-Key": {
        "description": "Makes a repetition of this very call harmless: it gets the first answer.",
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
    },
    "Lease-Token": {
        "description": "Token of the lease; with another than the current one nothing is done.",
        "type": "string",
    },
    "Prefer": {
        "description": "respond-async: be answered 202 before Redis has applied it. It waits in "
        "memory, and is lost if the process is killed.",
        "type": "string",
    },
    "Cache-Control": {
        "description": "no-cache: ask Redis for everything. stale-if-error=SECONDS: memory may "
        "answer while Redis is away.",
        "type": "string",
    },
}

TOLD: dict[str, Document] = {
    "ETag": {
        "description": "The revision of what is there; absent for none.",
        "schema": _TEXT,
    },
    "Session-Expires": {
        "description": "When the session ends; absent for never.",
        "schema": {"type": "string", "format": "date-time"},
    },
    "Session-TTL": {
        "description": "Seconds until the session ends, rounded up; absent for never.",
        "schema": _SECONDS,
    },
    "Age": {
        "description": "Seconds since Redis was asked, if memory answered during an outage.",
        "schema": _SECONDS,
    },
    "Durability": {
        "description": "What holds the write: Redis, with this process's log; its memory.",
        "schema": {"enum": ["redis", "redis+replay", "memory"]},
    },
    "Preference-Applied": {
        "description": "The write waits in memory, as it was preferred.",
        "schema": {"enum": ["respond-async"]},
    },
    "Idempotency-Replayed": {
        "description": "This is the answer to an earlier call with the same key.",
        "schema": {"enum": ["true"]},
    },
    "Cache-Control": {"description": "Nobody in between may keep it.", "schema": _TEXT},
    "X-Request-Id": {
        "description": "The one that was sent, if it is fit for logs, else a new one.",
        "schema": _TEXT,
    },
    "Retry-After": {"description": "Seconds to wait before the next try.", "schema": _SECONDS},
    "Allow": {"description": "The methods of this path.", "schema": _TEXT},
    "WWW-Authenticate": {"description": "Bearer.", "schema": _TEXT},
}
