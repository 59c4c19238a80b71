"""All routes on one page."""

from service.http import health_routes, message_routes, session_routes, state_routes
from service.http.auth import Scope
from service.http.router import Endpoint, Handler, OpenHandler, Router


def _read(handler: Handler) -> dict[str, Endpoint]:
    return {"GET": Endpoint(handler, Scope.RO), "HEAD": Endpoint(handler, Scope.RO)}


def _write(method: str, handler: Handler) -> dict[str, Endpoint]:
    return {method: Endpoint(handler, Scope.RW)}


def _open(handler: OpenHandler) -> dict[str, OpenHandler]:
    return {"GET": handler, "HEAD": handler}


API_ROUTES: dict[str, dict[str, Endpoint]] = {
    "/v1/sessions/{id}": _read(session_routes.read_session)
    | _write("PUT", session_routes.put_session)
    | _write("PATCH", session_routes.patch_session)
    | _write("DELETE", session_routes.delete_session),
    "/v1/sessions/{id}/state": _read(state_routes.list_state)
    # A batch that only gets is a read: the handler asks for more when it writes.
    | {"POST": Endpoint(state_routes.batch_state, Scope.RO)},
    "/v1/sessions/{id}/state/{key}": _read(state_routes.read_value)
    | _write("PUT", state_routes.put_value)
    | _write("DELETE", state_routes.delete_value),
    "/v1/sessions/{id}/messages": _read(message_routes.read_messages)
    | _write("POST", message_routes.append_messages),
}

OPEN_ROUTES: dict[str, dict[str, OpenHandler]] = {
    "/": _open(health_routes.root),
    "/health": _open(health_routes.health),
    "/health/live": _open(health_routes.live),
    "/health/ready": _open(health_routes.ready),
}


def build_router() -> Router:
    """Return the routes of the API, and those that need no key."""
    return Router(API_ROUTES, OPEN_ROUTES)
