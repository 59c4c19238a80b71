"""All routes on one page."""

from functools import cache

import orjson
from starlette.types import Lifespan

from service.access import Scope
from service.http import (
    admin_routes,
    backup_routes,
    health_routes,
    lease_routes,
    listing_routes,
    message_routes,
    session_routes,
    state_routes,
)
from service.http.answers import JSON
from service.http.headers import Headers
from service.http.lifespan import LifespanState
from service.http.response import Response
from service.http.router import Endpoint, Handler, OpenHandler, Router


def _read(handler: Handler) -> dict[str, Endpoint]:
    return {"GET": Endpoint(handler, Scope.RO), "HEAD": Endpoint(handler, Scope.RO)}


def _write(method: str, handler: Handler) -> dict[str, Endpoint]:
    return {method: Endpoint(handler, Scope.RW)}


def _grow(method: str, handler: Handler) -> dict[str, Endpoint]:
    return {method: Endpoint(handler, Scope.RW, grows=True)}


def _open(handler: OpenHandler) -> dict[str, OpenHandler]:
    return {"GET": handler, "HEAD": handler}


def openapi(_: LifespanState, __: Headers) -> Response:
    """Answer the description of all routes; no key needed."""
    return Response(_document(), headers=(JSON,))


API_ROUTES: dict[str, dict[str, Endpoint]] = {
    "/v1/sessions": _read(listing_routes.list_sessions),
    "/v1/sessions/{id}": _read(session_routes.read_session)
    | _grow("PUT", session_routes.put_session)
    | _write("PATCH", session_routes.patch_session)
    | _write("DELETE", session_routes.delete_session),
    "/v1/sessions/{id}/copy": _grow("POST", session_routes.copy_session),
    "/v1/sessions/{id}/backup": _read(backup_routes.read_backup),
    "/v1/sessions/{id}/restore": _grow("POST", backup_routes.restore_session),
    "/v1/sessions/{id}/state": _read(state_routes.list_state)
    | _write("DELETE", state_routes.delete_state)
    # A batch that only gets is a read: the handler asks for more when it writes.
    | {"POST": Endpoint(state_routes.batch_state, Scope.RO)},
    "/v1/sessions/{id}/state/{key}": _read(state_routes.read_value)
    | _grow("PUT", state_routes.put_value)
    | _write("DELETE", state_routes.delete_value),
    "/v1/sessions/{id}/messages": _read(message_routes.read_messages)
    | _grow("POST", message_routes.append_messages)
    | _grow("PUT", message_routes.replace_messages)
    | _write("DELETE", message_routes.delete_messages),
    "/v1/sessions/{id}/messages/{seq}": _read(message_routes.read_message)
    | _write("DELETE", message_routes.delete_message),
    "/v1/sessions/{id}/lease": _write("POST", lease_routes.acquire_lease)
    | _write("PATCH", lease_routes.extend_lease)
    | _write("DELETE", lease_routes.release_lease),
    "/v1/admin/relieve": {"POST": Endpoint(admin_routes.relieve, Scope.ADMIN)},
    "/v1/admin/leak": {"POST": Endpoint(admin_routes.trace_leak, Scope.ADMIN)},
}

OPEN_ROUTES: dict[str, dict[str, OpenHandler]] = {
    "/": _open(health_routes.root),
    "/openapi.json": _open(openapi),
    "/health": _open(health_routes.health),
    "/health/live": _open(health_routes.live),
    "/health/ready": _open(health_routes.ready),
}


@cache
def _document() -> bytes:
    # All its types and examples: hardly any process is ever asked for them.
    from service.http.openapi.document import build_document  # noqa: PLC0415

    return orjson.dumps(build_document(API_ROUTES, OPEN_ROUTES))


def build_router(lifespan: Lifespan[Router]) -> Router:
    """Return the routes of the API, and those that need no key."""
    return Router(API_ROUTES, OPEN_ROUTES, lifespan)
