"""The route that lists the sessions of the caller's namespace."""

from service.errors import BadInput, Fault
from service.http.answers import json_response, session_document
from service.http.call import Call
from service.http.names import MOST_ID_BYTES
from service.http.queries import LISTING_PARAMETERS, parse_page_limit
from service.http.response import Response

MOST_DOCUMENT_BYTES = 1_024
"""Of one session: an id of 256 bytes, each of them escaped, and members of less than 400."""


async def list_sessions(call: Call) -> Response:
    """List sessions in no order, in pages; renews none, and has no ETag to compare with."""
    query = call.query(*LISTING_PARAMETERS)
    listing = await call.parts["directory"].page(
        call.principal.namespace,
        _checked_prefix(query.get("prefix", "")),
        min(parse_page_limit(query), call.parts["limits"].max_answer_bytes // MOST_DOCUMENT_BYTES),
        query.get("cursor"),
    )
    sessions = [session_document(session) for session in listing.sessions]
    return json_response({"sessions": sessions, "next": listing.next})


def _checked_prefix(prefix: str) -> str:
    if len(prefix.encode()) > MOST_ID_BYTES:
        reason = f"must be at most {MOST_ID_BYTES} bytes of UTF-8"
        raise BadInput("The prefix is longer than any id.", Fault("/query/prefix", reason))
    return prefix
