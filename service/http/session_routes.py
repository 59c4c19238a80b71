"""Routes of a session itself: create, read, change, delete."""

from service.errors import BadInput, Fault, TooLarge
from service.http.answers import (
    check_read_conditions,
    done_headers,
    durability,
    json_response,
    not_modified,
    page_document,
    session_document,
    values_document,
    view_headers,
)
from service.http.backup_routes import gone, read_existing
from service.http.bodies import parse_copy, parse_settings, parse_settings_patch
from service.http.call import Call
from service.http.queries import SESSION_PARAMETERS, parse_window
from service.http.response import Response
from service.model import Limits, Reading, SessionRef, StatePart, Touch, View
from service.writes import SettingsChange

INCLUDABLE = ("state", "messages")


async def read_session(call: Call) -> Response:
    """Answer GET and HEAD of a session, with its contents if they are to be included."""
    query = call.query(*SESSION_PARAMETERS)
    reading, conditions = _parse_reading(query), call.conditions()
    view = await read_existing(call, reading)
    headers = view_headers(view)
    if check_read_conditions(conditions, view.session.etag):
        return not_modified(headers)
    document = session_document(view.session)
    if reading.state is StatePart.ALL:
        document["state"] = values_document(view.values)
    if view.page is not None:
        document |= page_document(view.page, view.session.message_count)
    _check_included(view, call.parts["limits"])
    return json_response(document, headers)


async def put_session(call: Call) -> Response:
    """Create a session, or change the settings that are named and keep the rest."""
    call.query()
    change = parse_settings(await call.json_body() or b"{}")
    return await _configured(call, change, may_create=True)


async def patch_session(call: Call) -> Response:
    """Merge settings into those of a session (RFC 7396; null = default); {} only renews."""
    call.query()
    defaults = SettingsChange(
        ttl_ms=call.parts["default_ttl_ms"],
        touch=Touch.WRITE,
        max_age_ms=0,
        max_messages=call.parts["default_max_messages"],
    )
    change = parse_settings_patch(await call.json_body() or b"{}", defaults)
    return await _configured(call, change, may_create=False)


async def delete_session(call: Call) -> Response:
    """Remove everything of a session."""
    call.query()
    is_kept = await call.parts["sessions"].delete(call.ref, call.conditions())
    return Response(status_code=204, headers=durability(is_kept=is_kept))


async def copy_session(call: Call) -> Response:
    """Make another session of all that this one holds."""
    call.query()
    target = SessionRef(namespace=call.principal.namespace, id=parse_copy(await call.json_body()))
    conditions = call.conditions()
    if conditions.lease_token is not None:
        await call.parts["leases"].check(call.ref, conditions.lease_token)
    done = await call.parts["sessions"].copy(call.ref, target, conditions)
    if done is None:
        raise await gone(call)
    return json_response(session_document(done.session), done_headers(done), 201)


async def _configured(call: Call, change: SettingsChange, *, may_create: bool) -> Response:
    done = await call.parts["sessions"].configure(
        call.ref, change, call.conditions(), may_create=may_create
    )
    if done is None:
        raise await gone(call)
    status = 201 if done.created else 200
    return json_response(session_document(done.session), done_headers(done), status)


def _parse_reading(query: dict[str, str]) -> Reading:
    include = query.pop("include", "")
    parts = [part.strip() for part in include.split(",")] if include else []
    if any(part not in INCLUDABLE for part in parts) or len(set(parts)) != len(parts):
        reason = f"must be a list of: {', '.join(INCLUDABLE)}"
        raise BadInput("include cannot be read.", Fault("/query/include", reason))
    if query and "messages" not in parts:
        name = next(iter(query))
        raise BadInput(
            "A window needs messages.", Fault(f"/query/{name}", "goes with include=messages")
        )
    return Reading(
        window=parse_window(query) if "messages" in parts else None,
        state=StatePart.ALL if "state" in parts else StatePart.NONE,
    )


def _check_included(view: View, limits: Limits) -> None:
    """Raise TooLarge if an answer that has no pages would have to be cut."""
    state = sum(len(stored.value.data) for stored in view.values.values() if stored)
    messages = len(view.page.json) if view.page else 0
    is_cut = view.page is not None and view.page.is_cut
    if is_cut or state + messages > limits.max_answer_bytes:
        limit = limits.max_answer_bytes
        raise TooLarge(f"The answer would pass {limit} bytes: ask for less.", limit=limit)
