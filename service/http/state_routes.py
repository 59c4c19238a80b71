"""Routes of a session's state: one value, the batch, the listing."""

from collections.abc import Iterable

from msgspec.structs import replace

from service.access import Scope
from service.errors import BadInput, Fault, NotFound, PreconditionFailed, TooLarge
from service.http.answers import (
    DURABILITY,
    check_read_conditions,
    done_headers,
    durability,
    expiry_headers,
    json_response,
    not_modified,
    session_headers,
    values_document,
    view_headers,
)
from service.http.backup_routes import read_existing
from service.http.bodies import parse_batch
from service.http.call import Call, is_json
from service.http.idempotency import once
from service.http.preferences import write_behind
from service.http.queries import (
    KEY_TTL_PARAMETERS,
    PREFIX_PARAMETERS,
    STATE_PARAMETERS,
    parse_key_ttl,
    parse_page_limit,
)
from service.http.response import Response
from service.http.values import check_json_value, check_media_type, check_size
from service.json_text import check_json, check_utf8
from service.model import ETag, Reading, StateKey, StatePart, Value, View
from service.writes import StateWrite

MEMBER_BYTES, VALUE_BYTES, NAME_BYTES = 120, 220, 90
"""Of memory: for a member of `set` or `merge` (at most one for each colon), as much more for those
that are taken, and for a name to get (one for each comma)."""

RAW_TYPE = "application/octet-stream"
HARMLESS = ((b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"sandbox"))
"""A value is the sender's: a browser that is led to one must neither guess its type nor run it."""


async def read_value(call: Call) -> Response:
    """Answer one value exactly as it was sent."""
    call.query()
    key, conditions = call.key, call.conditions()
    reading = Reading(state=StatePart.SOME, keys=(key,))
    view = await read_existing(call, reading)
    stored = view.values[key]
    if stored is None:
        words, age = "There is no such state key.", view.age_seconds
        raise NotFound(words, age_seconds=age, code="key_not_found")
    etag = ETag(gen=view.session.etag.gen, rev=stored.tag)
    headers = view_headers(view, etag)
    if check_read_conditions(conditions, etag):
        return not_modified(headers)
    media_type = (b"content-type", stored.value.media_type.encode())
    return Response(stored.value.data, headers=(*headers, media_type, *HARMLESS))


async def put_value(call: Call) -> Response:
    """Set one value: JSON, or bytes of any other content type; creates the session."""
    key_ttl_ms = parse_key_ttl(call.query(*KEY_TTL_PARAMETERS))
    key, value = call.key, await _read_sent_value(call)
    write = StateWrite(sets={key: value}, own_key=key, key_ttl_ms=key_ttl_ms)
    if (headers := write_behind(call, write)) is not None:
        return Response(status_code=202, headers=headers)
    done = await call.parts["sessions"].write_state(call.ref, write, call.conditions())
    assert done is not None  # a set creates the session
    own = ETag(gen=done.etag.gen, rev=done.tag)
    kept = durability(is_kept=done.is_kept)
    told = (*session_headers(done.session, done.now_ms, own), *kept)
    return Response(status_code=201 if done.added else 204, headers=told)


async def delete_value(call: Call) -> Response:
    """Delete one value, if it is there."""
    call.query()
    write = StateWrite(deletes=(call.key,), own_key=call.key)
    done = await call.parts["sessions"].write_state(call.ref, write, call.conditions())
    if done is None:
        return Response(status_code=204, headers=DURABILITY)
    headers = (*expiry_headers(done.session, done.now_ms), *durability(is_kept=done.is_kept))
    return Response(status_code=204, headers=headers)


async def batch_state(call: Call) -> Response:
    """Set and delete, then get, in one step; a batch that only gets is a read."""
    call.query()
    body = await call.json_body()
    call.hold.grow(_batch_bytes(body, call.parts["limits"].max_keys_per_call))
    write = parse_batch(body, call.parts["limits"])
    # A call that names nothing to get is a touch, as {} is elsewhere.
    if write == StateWrite(gets=write.gets) and write.gets:
        return await _read_batch(call, write.gets)
    call.require(Scope.RW)
    call.hold.restrict()
    with once(call, body) as idempotency:
        write = replace(write, idempotency=idempotency)
        if (headers := write_behind(call, write)) is not None:
            # How many keys will be there to be deleted, nobody knows yet.
            deleted = None if write.deletes else 0
            return json_response({"values": {}, "deleted": deleted}, headers, 202)
        done = await call.parts["sessions"].write_state(call.ref, write, call.conditions())
    if done is None:
        nothing = {"values": dict.fromkeys(write.gets), "deleted": 0, "etag": None}
        return json_response(nothing, DURABILITY)
    document = {
        "values": values_document(done.values),
        "deleted": done.deleted,
        "etag": str(done.etag),
    }
    return json_response(document, done_headers(done))


async def delete_state(call: Call) -> Response:
    """Delete all values whose keys begin with a prefix."""
    prefix = call.query(*PREFIX_PARAMETERS).get("prefix", "")
    done = await call.parts["sessions"].delete_state(call.ref, prefix, call.conditions())
    headers = done_headers(done) if done else DURABILITY
    return json_response({"deleted": done.deleted if done else 0}, headers)


async def list_state(call: Call) -> Response:
    """List keys in the order of their bytes, with their values if wanted, in pages."""
    query = call.query(*STATE_PARAMETERS)
    limit = parse_page_limit(query)
    has_values = _parse_switch(query.get("values", "false"))
    member = "values" if has_values else "keys"
    reading, conditions = Reading(state=StatePart.NAMES), call.conditions()
    view = await call.parts["sessions"].read(call.ref, reading, call.freshness())
    if view is None:
        check_read_conditions(conditions, None)
        return json_response({member: {} if has_values else [], "next": None})
    headers = view_headers(view)
    if check_read_conditions(conditions, view.session.etag):
        return not_modified(headers)
    keys, has_more = _page(view.names, query, limit)
    if not has_values:
        return json_response({"keys": keys, "next": keys[-1] if has_more else None}, headers)
    return await _list_values(call, keys, view, has_more=has_more)


async def _list_values(
    call: Call, keys: list[StateKey], names: View, *, has_more: bool
) -> Response:
    """Answer a page of values, shorter where they would pass the limit of an answer."""
    reading = Reading(state=StatePart.SOME, keys=tuple(keys))
    try:
        view = await call.parts["sessions"].read(call.ref, reading, call.freshness())
    except TooLarge:
        return await _list_values(call, keys[: len(keys) // 2], names, has_more=True)
    values = view.values if view else {}
    # A key that was deleted since the names were read is left out.
    present = {key: stored for key, stored in values.items() if stored is not None}
    document = {"values": values_document(present), "next": keys[-1] if has_more else None}
    return json_response(document, view_headers(view or names))


async def _read_batch(call: Call, keys: tuple[StateKey, ...]) -> Response:
    reading, conditions = Reading(state=StatePart.SOME, keys=keys), call.conditions()
    view = await call.parts["sessions"].read(call.ref, reading, call.freshness())
    if view is None:
        check_read_conditions(conditions, None)
        return json_response({"values": dict.fromkeys(keys), "deleted": 0, "etag": None})
    etag = str(view.session.etag)
    if check_read_conditions(conditions, view.session.etag):
        # A POST has no 304 (RFC 9110, 13.1.2).
        raise PreconditionFailed("The condition does not hold.", etag=etag)
    document = {"values": values_document(view.values), "deleted": 0, "etag": etag}
    return json_response(document, view_headers(view))


def _batch_bytes(body: bytes, most_keys: int) -> int:
    """Return what the members of a batch take in memory, at most."""
    colons, commas = body.count(b":"), body.count(b",")
    names = min(commas, most_keys) + 1
    return MEMBER_BYTES * colons + VALUE_BYTES * min(colons, most_keys) + NAME_BYTES * names


async def _read_sent_value(call: Call) -> Value:
    limits, media_type = call.parts["limits"], call.media_type() or RAW_TYPE
    check_media_type(media_type, "/headers/content-type")
    data = await call.body()
    if not is_json(media_type):
        check_size(data, "", limits.max_value_bytes)
        return Value(data, media_type, is_json=False)
    check_utf8(data)
    check_json(data)
    check_json_value(data, "", limits)
    return Value(data, media_type)


def _page(
    names: Iterable[StateKey], query: dict[str, str], limit: int
) -> tuple[list[StateKey], bool]:
    """Return the keys of a page and whether there are more behind it."""
    prefix, after = query.get("prefix", ""), query.get("after", "")
    matching = [name for name in names if name.startswith(prefix)]
    # Code points sort as their UTF-8 does.
    matching = sorted(name for name in matching if not after or name > after)
    return matching[:limit], len(matching) > limit


def _parse_switch(text: str) -> bool:
    if text not in {"true", "false"}:
        raise BadInput(
            "values must be true or false.", Fault("/query/values", "must be true or false")
        )
    return text == "true"
