"""Routes of a session's messages: append, and read in windows."""

import orjson
from starlette.responses import Response

from service.http.answers import (
    DURABILITY,
    check_read_conditions,
    json_response,
    not_modified,
    page_document,
    session_headers,
    view_headers,
)
from service.http.bodies import parse_append
from service.http.call import Call
from service.http.windows import WINDOW_PARAMETERS, parse_window
from service.model import Page, Reading


async def append_messages(call: Call) -> Response:
    """Append messages in order; creates the session."""
    call.query()
    call.refuse_idempotency_key()
    append, identities = parse_append(await call.json_body(), call.parts["limits"])
    done = await call.parts["sessions"].append(call.ref, append, call.conditions())
    document = {
        "first_seq": done.first_seq if done.count else None,
        "last_seq": done.last_seq if done.count else None,
        "count": done.count,
        "duplicates": [orjson.Fragment(identities[i] or b"null") for i in done.duplicates],
        "etag": str(done.session.etag),
    }
    headers = session_headers(done.session, done.now_ms) | DURABILITY
    return json_response(document, headers, 201 if done.count else 200)


async def read_messages(call: Call) -> Response:
    """Answer a window of the log, oldest first; empty where there is no session."""
    window = parse_window(call.query(*WINDOW_PARAMETERS))
    conditions = call.conditions()
    view = await call.parts["sessions"].read(call.ref, Reading(window=window), call.freshness())
    if view is None:
        check_read_conditions(conditions, None)
        return json_response(page_document(Page(), 0))
    headers = view_headers(view)
    if check_read_conditions(conditions, view.session.etag):
        return not_modified(headers)
    return json_response(page_document(view.page or Page(), view.session.message_count), headers)
