"""Answers: the model as JSON, stored bytes spliced in as they are, and headers that tell of it."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from service.clock import rfc3339
from service.errors import PreconditionFailed
from service.http.headers import Line
from service.http.response import Response
from service.model import (
    JSON_TYPE,
    Conditions,
    ETag,
    Page,
    Session,
    StateKey,
    StoredValue,
    View,
)
from service.writes import Done

Document = dict[str, Any]

JSON: Line = (b"content-type", JSON_TYPE.encode())
DURABILITY: tuple[Line, ...] = ((b"durability", b"redis"),)
DURABILITY_WITH_REPLAY: tuple[Line, ...] = ((b"durability", b"redis+replay"),)
REPLAYED: Line = (b"idempotency-replayed", b"true")


def json_response(document: Document, headers: Iterable[Line] = (), status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(orjson.dumps(document), status, (*headers, JSON))


def session_headers(session: Session, now_ms: int, etag: ETag | None = None) -> list[Line]:
    """Return what every answer about a session tells of it; `etag` if it is not the session's."""
    headers = expiry_headers(session, now_ms)
    headers.append((b"etag", str(etag or session.etag).encode()))
    return headers


def expiry_headers(session: Session, now_ms: int) -> list[Line]:
    """Return when a session ends, and in how many seconds, rounded up; nothing for never."""
    ends = session.expires_at_ms
    if ends is None:
        return []
    left = max(0, -((now_ms - ends) // 1000))
    return [(b"session-expires", rfc3339(ends).encode()), (b"session-ttl", b"%d" % left)]


def done_headers(done: Done) -> list[Line]:
    """Return the headers of a write: the session after it, and whether it was done before."""
    headers = session_headers(done.session, done.now_ms, done.etag)
    headers += durability(is_kept=done.is_kept)
    if done.replayed_rev is not None:
        headers.append(REPLAYED)
    return headers


def durability(*, is_kept: bool) -> tuple[Line, ...]:
    """Return what a write survives; `is_kept`: this process makes it good if Redis loses it."""
    return DURABILITY_WITH_REPLAY if is_kept else DURABILITY


def view_headers(view: View, etag: ETag | None = None) -> list[Line]:
    """Return the headers of a read; Age if it came from memory during an outage (RFC 9111, 5.1)."""
    headers = session_headers(view.session, view.now_ms, etag)
    if view.age_seconds is not None:
        headers.append((b"age", b"%d" % view.age_seconds))
    return headers


def session_document(session: Session) -> Document:
    """Return a session without its contents."""
    ends = session.expires_at_ms
    return {
        "id": session.id,
        "etag": str(session.etag),
        "created_at": rfc3339(session.created_at_ms),
        "updated_at": rfc3339(session.updated_at_ms),
        "expires_at": None if ends is None else rfc3339(ends),
        "ttl": _seconds(session.ttl_ms),
        "touch": session.touch,
        "max_age": _seconds(session.max_age_ms),
        "max_messages": session.max_messages,
        "message_count": session.message_count,
        "state_key_count": session.state_key_count,
    }


def page_document(page: Page, total: int) -> Document:
    """Return messages; `next` goes to after=, `prev` to before=, null where there are no more."""
    return {
        "messages": lines_fragment(page.json),
        "first_seq": page.first_seq,
        "last_seq": page.last_seq,
        "total": total,
        "next": page.next_seq,
        "prev": page.prev_seq,
    }


def lines_fragment(lines: bytes) -> orjson.Fragment:
    """Return messages, which are JSON already, as a list."""
    return orjson.Fragment(b"[%b]" % lines)


def values_document(values: Mapping[StateKey, StoredValue | None]) -> Document:
    """Return state values by key; null where there is none, raw ones in base64."""
    return {key: _value(stored) for key, stored in values.items()}


def check_read_conditions(conditions: Conditions, current: ETag | None) -> bool:
    """Return whether the reader has this already (304). Raises PreconditionFailed."""
    if not conditions.has_match(current):
        etag = str(current) if current else None
        raise PreconditionFailed("The condition does not hold.", etag=etag)
    return not conditions.has_no_match(current)


def not_modified(headers: Iterable[Line]) -> Response:
    """Return 304: what the reader holds is still what is there."""
    return Response(status_code=304, headers=headers)


def _seconds(ms: int | None) -> float | int | None:
    if ms is None:
        return None
    return ms // 1000 if ms % 1000 == 0 else ms / 1000


def _value(stored: StoredValue | None) -> object:
    if stored is None:
        return None
    if stored.value.is_json:
        return orjson.Fragment(stored.value.data)
    data = base64.b64encode(stored.value.data).decode()
    return {"$raw": data, "type": stored.value.media_type}
