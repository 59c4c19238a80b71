"""Routes of a session's messages: append, replace, read, remove."""

from collections.abc import Sequence

import orjson
from msgspec.structs import replace

from service.errors import NotFound, TooLarge
from service.http.answers import (
    DURABILITY,
    JSON,
    check_read_conditions,
    done_headers,
    json_response,
    lines_fragment,
    not_modified,
    page_document,
    view_headers,
)
from service.http.backup_routes import read_existing
from service.http.bodies import parse_append, parse_replace
from service.http.call import Call
from service.http.headers import Line
from service.http.idempotency import once
from service.http.names import seq_in_path
from service.http.preferences import write_behind
from service.http.queries import (
    REMOVAL_PARAMETERS,
    WINDOW_PARAMETERS,
    parse_removal,
    parse_window,
)
from service.http.response import Response
from service.model import Page, Reading, View, Window
from service.writes import Append, Appended, Cut, Removal, Removed


async def append_messages(call: Call) -> Response:
    """Append messages in order; creates the session."""
    call.query()
    body = await call.json_body()
    append, identities = parse_append(body, call.parts["limits"])
    with once(call, body) as idempotency:
        append = replace(append, idempotency=idempotency)
        if (headers := write_behind(call, append)) is not None:
            return json_response(_accepted(append), headers, 202)
        done = await call.parts["sessions"].append(call.ref, append, call.conditions())
    duplicates = [orjson.Fragment(identities[i] or b"null") for i in done.duplicates]
    document = {**_assigned(done), "duplicates": duplicates, "etag": str(done.etag)}
    return json_response(document, done_headers(done), 201 if done.count else 200)


async def replace_messages(call: Call) -> Response:
    """Put messages in the place of all that are there; creates the session."""
    call.query()
    append = parse_replace(await call.json_body(), call.parts["limits"])
    done = await call.parts["sessions"].replace(call.ref, append, call.conditions())
    return json_response({**_assigned(done), "etag": str(done.etag)}, done_headers(done))


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
    return json_response(page_document(_page(call, view), view.session.message_count), headers)


async def read_message(call: Call) -> Response:
    """Answer one message."""
    call.query()
    seq, conditions = _seq(call), call.conditions()
    window = Window(limit=1, after=seq - 1, before=seq + 1)
    view = await read_existing(call, Reading(window=window))
    page = _page(call, view)
    if not page.count:
        words, age = "There is no message of this seq.", view.age_seconds
        raise NotFound(words, age_seconds=age, code="message_not_found")
    headers = view_headers(view)
    if check_read_conditions(conditions, view.session.etag):
        return not_modified(headers)
    return Response(page.json, headers=(*headers, JSON))


async def delete_message(call: Call) -> Response:
    """Delete one message, if it is there."""
    call.query()
    removed = await _remove(call, Removal(cut=Cut.ONE, number=_seq(call)))
    return Response(status_code=204, headers=_removed_headers(removed))


async def delete_messages(call: Call) -> Response:
    """Delete all messages, trim the oldest, or pop the newest."""
    removal = parse_removal(call.query(*REMOVAL_PARAMETERS))
    match removal.cut:
        case Cut.LAST:
            return await _pop(call, removal)
        case Cut.BEFORE:
            removed = await _remove(call, removal)
            document = {"deleted": removed.count if removed else 0}
            return json_response(document, _removed_headers(removed))
        case _:
            removed = await _remove(call, removal)
            return Response(status_code=204, headers=_removed_headers(removed))


async def _pop(call: Call, removal: Removal) -> Response:
    with once(call) as idempotency:
        removed = await _remove(call, replace(removal, idempotency=idempotency))
    lines = removed.lines.data if removed else b""
    return json_response({"messages": lines_fragment(lines)}, _removed_headers(removed))


async def _remove(call: Call, removal: Removal) -> Removed | None:
    return await call.parts["sessions"].remove(call.ref, removal, call.conditions())


def _page(call: Call, view: View) -> Page:
    """Return the messages that were read.

    Raises TooLarge if none fits into an answer: an empty page would tell that there are no more.
    """
    page = view.page or Page()
    if page.is_cut and not page.count:
        limit = call.parts["limits"].max_answer_bytes
        words = f"A message from when limits were higher passes {limit} bytes, that of an answer."
        raise TooLarge(words, limit=limit)
    return page


def _removed_headers(removed: Removed | None) -> Sequence[Line]:
    return done_headers(removed) if removed else DURABILITY


def _assigned(done: Appended) -> dict[str, int | None]:
    return {
        "first_seq": done.first_seq if done.count else None,
        "last_seq": done.last_seq if done.count else None,
        "count": done.count,
    }


def _accepted(append: Append) -> dict[str, object]:
    """Return what is known of an append before Redis has looked for duplicates."""
    if append.dedupe:
        return {"count": None, "duplicates": None}
    return {"count": len(append.messages), "duplicates": []}


def _seq(call: Call) -> int:
    return seq_in_path(call.segments[1])
