"""Calls of every route of the API on one session, so that a rule can be tried on all of them."""

from dataclasses import dataclass, field

from httpx import AsyncClient, Response

from service.http.routes import API_ROUTES

SESSION = "/v1/sessions/a"
PATTERN = "/v1/sessions/{id}"
COLD = {"Cache-Control": "no-cache"}

_NAMES = {"{id}": "a", "{key}": "k", "{seq}": "2"}


@dataclass(frozen=True, slots=True)
class RouteCall:
    """One way to call a route; `does` is what it is called in tests."""

    does: str
    method: str
    pattern: str
    body: bytes = b""
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def path(self, names: dict[str, str] = _NAMES) -> str:
        path = self.pattern
        for placeholder, name in names.items():
            path = path.replace(placeholder, name)
        return path + self.query

    async def send(self, client: AsyncClient, headers: dict[str, str] | None = None) -> Response:
        together = {**self.headers, **(headers or {})}
        return await client.request(self.method, self.path(), content=self.body, headers=together)


MUTATIONS = {
    call.does: call
    for call in (
        RouteCall("put_session", "PUT", PATTERN, b'{"ttl":60}'),
        RouteCall("patch_session", "PATCH", PATTERN, b'{"ttl":60}'),
        RouteCall("delete_session", "DELETE", PATTERN),
        RouteCall("copy", "POST", f"{PATTERN}/copy", b'{"to":"b"}'),
        RouteCall("batch", "POST", f"{PATTERN}/state", b'{"set":{"k":2}}'),
        RouteCall("merge", "POST", f"{PATTERN}/state", b'{"merge":{"o":{"x":2}}}'),
        RouteCall("delete_state", "DELETE", f"{PATTERN}/state"),
        RouteCall("put_value", "PUT", f"{PATTERN}/state/{{key}}", b"2"),
        RouteCall("delete_value", "DELETE", f"{PATTERN}/state/{{key}}"),
        RouteCall("append", "POST", f"{PATTERN}/messages", b'{"messages":[{}]}'),
        RouteCall("replace", "PUT", f"{PATTERN}/messages", b'{"messages":[{}]}'),
        RouteCall("clear", "DELETE", f"{PATTERN}/messages"),
        RouteCall("pop", "DELETE", f"{PATTERN}/messages", query="?last=1"),
        RouteCall("trim", "DELETE", f"{PATTERN}/messages", query="?before=2"),
        RouteCall("delete_message", "DELETE", f"{PATTERN}/messages/{{seq}}"),
    )
}
READS = {
    call.does: call
    for call in (
        RouteCall("session", "GET", PATTERN),
        RouteCall("whole", "GET", PATTERN, query="?include=state,messages"),
        RouteCall("messages", "GET", f"{PATTERN}/messages"),
        RouteCall("message", "GET", f"{PATTERN}/messages/{{seq}}"),
        RouteCall("state", "GET", f"{PATTERN}/state"),
        RouteCall("values", "GET", f"{PATTERN}/state", query="?values=true"),
        RouteCall("value", "GET", f"{PATTERN}/state/{{key}}"),
    )
}
OF_ONE_VALUE = {"put_value", "delete_value", "value"}
"""Whose conditions mean the value."""

CREATING = {"put_session", "batch", "merge", "put_value", "append", "replace"}
"""What makes the session that is not there."""


async def make(client: AsyncClient) -> Response:
    """Make a session of two values and three messages; return the answer to the last write."""
    body = b'{"set":{"k":1,"o":{"x":1,"y":1.0}}}'
    created = await client.post(f"{SESSION}/state", content=body)
    assert created.status_code == 200
    messages = b'{"messages":[{"n":1},{"n":2},{"n":3}]}'
    written = await client.post(f"{SESSION}/messages", content=messages)
    assert written.status_code == 201
    return written


async def etag_for(client: AsyncClient, does: str) -> str:
    """Return the ETag that the conditions of a call mean."""
    path = f"{SESSION}/state/k" if does in OF_ONE_VALUE else SESSION
    etag: str = (await client.get(path)).headers["ETag"]
    return etag


async def everything(client: AsyncClient, session: str = SESSION) -> bytes:
    """Return all that Redis holds of a session."""
    params = {"include": "state,messages", "last": "1000"}
    return (await client.get(session, params=params, headers=COLD)).content


def untried_routes() -> set[tuple[str, str]]:
    """Return the routes of sessions that none of these calls is of."""
    tried = {(call.method, call.pattern) for call in (MUTATIONS | READS).values()}
    return {
        (method, pattern)
        for pattern, methods in API_ROUTES.items()
        for method in methods
        if method != "HEAD" and pattern.startswith(PATTERN) and not pattern.endswith("/lease")
    } - tried
