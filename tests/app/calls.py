"""Calls of every route of the API on one session, so that a rule can be tried on all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from httpx import AsyncClient, Response

from service import archive
from service.archive import StateCopy
from service.http.routes import API_ROUTES
from service.model import ETag, Session, SessionRef, StateKey, StoredValue, Touch, Value
from service.store import BackupStore, Link, Mark, RedisTarget

SESSION = "/v1/sessions/a"
PATTERN = "/v1/sessions/{id}"
COLD = {"Cache-Control": "no-cache"}

OF_THE_ID = ("/lease", "/backup", "/restore")
"""Routes with tests of their own: what they are about may be there without the session."""

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
        if method != "HEAD" and pattern.startswith(PATTERN) and not pattern.endswith(OF_THE_ID)
    } - tried


async def plant_backup(url: str, ref: SessionRef, values: Mapping[str, bytes]) -> None:
    """Let there be a copy of a state, as of a session that was lost."""
    session = Session(
        id=ref.id,
        etag=ETag(gen="AAAAAAAA", rev=1),
        created_at_ms=0,
        updated_at_ms=0,
        renewed_at_ms=0,
        ttl_ms=3_600_000,
        touch=Touch.WRITE,
        max_age_ms=None,
        max_messages=1_000,
        message_count=0,
        state_key_count=len(values),
    )
    state = {StateKey(key): StoredValue(Value(data), 0) for key, data in values.items()}
    copy = StateCopy(session=session, at_ms=1_714_564_805_000, values=state)
    mark = Mark(session.etag, copy.at_ms, len(state))
    link = Link(RedisTarget(url=url))
    copies = BackupStore(link, is_elsewhere=True)  # it must not ask for the session
    assert await copies.keep(ref, mark, archive.pack(copy), replaces_earlier=True)
    await link.aclose()
