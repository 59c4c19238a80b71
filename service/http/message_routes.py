"""Routes of a session's messages: append, and read in windows."""

import re
from datetime import UTC, datetime, timedelta

import orjson
from starlette.responses import Response

from service.errors import BadInput, Fault
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
from service.model import Page, Reading, Window

WINDOW_PARAMETERS = ("last", "after", "before", "since", "limit")
DEFAULT_LIMIT = 50
MOST_LIMIT = 1_000
MOST_SEQ = 2**48 - 1

_DIGITS = re.compile("[0-9]{1,15}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def append_messages(call: Call) -> Response:
    """Append messages in order; creates the session."""
    call.query()
    call.refuse_idempotency_key()
    append, identities = parse_append(await call.json_body(), call.state["limits"])
    done = await call.state["sessions"].append(call.ref, append, call.conditions())
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
    view = await call.state["sessions"].read(call.ref, Reading(window=window), call.freshness())
    if view is None:
        check_read_conditions(conditions, None)
        return json_response(page_document(Page(), 0))
    headers = view_headers(view)
    if check_read_conditions(conditions, view.session.etag):
        return not_modified(headers)
    return json_response(page_document(view.page or Page(), view.session.message_count), headers)


def parse_window(query: dict[str, str]) -> Window:
    """Parse which messages to read; without parameters the newest 50."""
    ways = [
        {"last"} & query.keys(),
        {"since"} & query.keys(),
        {"after", "before"} & query.keys(),
    ]
    used = sorted(name for way in ways if way for name in way)
    if sum(map(bool, ways)) > 1 or ("last" in query and "limit" in query):
        faults = (Fault(f"/query/{name}", "give one of them") for name in used)
        raise BadInput("last, since, and after or before exclude each other.", *faults)
    if "last" in query:
        return Window(limit=min(MOST_LIMIT, whole(query, "last", 0)))
    return Window(
        limit=min(MOST_LIMIT, whole(query, "limit", 1)) if "limit" in query else DEFAULT_LIMIT,
        newest="after" not in query and "since" not in query,
        after=whole(query, "after", 0) if "after" in query else None,
        before=whole(query, "before", 0) if "before" in query else None,
        since_ms=_parse_since(query["since"]) if "since" in query else None,
    )


def whole(query: dict[str, str], name: str, low: int) -> int:
    """Parse a parameter that is a whole number of at least `low`."""
    text = query[name]
    if not (_DIGITS.fullmatch(text) and low <= int(text) <= MOST_SEQ):
        reason = f"must be a whole number of at least {low}"
        raise BadInput("A query parameter is no such number.", Fault(f"/query/{name}", reason))
    return int(text)


def _parse_since(text: str) -> int:
    """Return milliseconds since 1970, rounded up: no message before the moment is let in."""
    if _DIGITS.fullmatch(text) and int(text) <= MOST_SEQ:
        return int(text)
    try:
        # A plus that was not escaped has come as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+")) - _EPOCH
    except (ValueError, TypeError, OverflowError):
        reason = "must be RFC 3339 with a zone, or milliseconds since 1970"
        raise BadInput("since is no moment.", Fault("/query/since", reason)) from None
    return max(0, -(-moment // timedelta(milliseconds=1)))
