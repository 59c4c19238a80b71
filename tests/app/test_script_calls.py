"""What a request costs, by MONITOR, for every route: the first table of docs/limits.md."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx import AsyncClient
from redis import Redis

from service.http.routes import API_ROUTES
from tests.app.calls import plant_backup
from tests.conftest import Serve
from tests.contract.test_commands import calls_seen
from tests.servers import Server
from tests.store_calls import ref_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "limits.md"
SID = "/v1/sessions/chat"
ROW = re.compile(r"\| `([A-Z]+) (/v1[^`]*)` \|[^|]*\| ([0-9])(?: \+ ([A-Z ]+))? \|")

REQUESTS: dict[tuple[str, str], tuple[str, bytes]] = {
    ("GET", "/v1/sessions"): ("/v1/sessions", b""),
    ("PUT", "/v1/sessions/{id}"): (SID, b'{"ttl":60}'),
    ("GET", "/v1/sessions/{id}"): (f"{SID}?include=state,messages", b""),
    ("PATCH", "/v1/sessions/{id}"): (SID, b"{}"),
    ("DELETE", "/v1/sessions/{id}"): (SID, b""),
    ("POST", "/v1/sessions/{id}/copy"): (f"{SID}/copy", b'{"to":"fork"}'),
    ("GET", "/v1/sessions/{id}/backup"): (f"{SID}/backup", b""),
    ("POST", "/v1/sessions/{id}/restore"): (f"{SID}/restore?replace=true", b""),
    ("POST", "/v1/sessions/{id}/state"): (
        f"{SID}/state",
        b'{"set":{"a":1,"b":null},"merge":{"k":{"x":1}},"get":["k"],"key_ttl":9}',
    ),
    ("GET", "/v1/sessions/{id}/state"): (f"{SID}/state", b""),
    ("DELETE", "/v1/sessions/{id}/state"): (f"{SID}/state?prefix=k", b""),
    ("GET", "/v1/sessions/{id}/state/{key}"): (f"{SID}/state/k", b""),
    ("PUT", "/v1/sessions/{id}/state/{key}"): (f"{SID}/state/k?key_ttl=9", b"1"),
    ("DELETE", "/v1/sessions/{id}/state/{key}"): (f"{SID}/state/k", b""),
    ("POST", "/v1/sessions/{id}/messages"): (
        f"{SID}/messages",
        b'{"messages":[{"id":1},{"id":2}],"dedupe":"id"}',
    ),
    ("GET", "/v1/sessions/{id}/messages"): (f"{SID}/messages?id=1&max_bytes=99", b""),
    ("PUT", "/v1/sessions/{id}/messages"): (f"{SID}/messages", b'{"messages":[{}]}'),
    ("DELETE", "/v1/sessions/{id}/messages"): (f"{SID}/messages?last=1", b""),
    ("GET", "/v1/sessions/{id}/messages/{seq}"): (f"{SID}/messages/1", b""),
    ("DELETE", "/v1/sessions/{id}/messages/{seq}"): (f"{SID}/messages/1", b""),
    ("POST", "/v1/sessions/{id}/lease"): ("/v1/sessions/free/lease", b""),
    ("PATCH", "/v1/sessions/{id}/lease"): (f"{SID}/lease", b""),
    ("DELETE", "/v1/sessions/{id}/lease"): (f"{SID}/lease", b""),
    ("POST", "/v1/admin/relieve"): ("/v1/admin/relieve", b'{"tier":"standard","dry_run":true}'),
    ("POST", "/v1/admin/leak"): ("/v1/admin/leak", b'{"seconds":1}'),
}


@pytest.fixture
def monitored(valkey: Server) -> Iterator[Redis]:
    with Redis.from_url(valkey.url) as client:
        yield client


async def lease_of_a_session_that_has_everything(api: AsyncClient) -> str:
    """Make the session and have each script known to Redis; return the token of its lease."""
    lease = await api.post(f"{SID}/lease")
    messages = {"messages": [{"id": 1}], "dedupe": "id"}
    assert (await api.post(f"{SID}/messages", json=messages)).status_code == 201
    assert (await api.post(f"{SID}/state", json={"set": {"k": {"y": 2}}})).status_code == 200
    token: str = lease.json()["token"]
    return token


@pytest.mark.parametrize(("method", "pattern"), REQUESTS)
async def test_a_request_costs_what_the_page_says(
    start: Serve, monitored: Redis, valkey: Server, method: str, pattern: str
) -> None:
    async with start(REPLAY_MAX_MB="0") as api:  # else what is flushed would come back
        await plant_backup(valkey.url, ref_of("chat"), {"k": b"1"})
        await _calls(api, monitored, method, *REQUESTS[method, pattern])  # it makes scripts known
        monitored.flushall()
        await plant_backup(valkey.url, ref_of("chat"), {"k": b"1"})
        seen = await _calls(api, monitored, method, *REQUESTS[method, pattern])

    scripts, others = documented()[method, pattern]
    # The watch asks, too.
    assert [name for name in seen if name not in {"EVALSHA", "INFO"}] == others
    assert seen.count("EVALSHA") == scripts


async def _calls(
    api: AsyncClient, monitored: Redis, method: str, path: str, content: bytes
) -> list[str]:
    token = await lease_of_a_session_that_has_everything(api)
    headers = {"Lease-Token": token, "Idempotency-Key": "k", "Cache-Control": "no-cache"}
    call = api.request(method, path, content=content, headers=headers)
    return await calls_seen(monitored, call)


def documented() -> dict[tuple[str, str], tuple[int, list[str]]]:
    rows = ROW.finditer(PAGE.read_text())
    return {(m[1], m[2]): (int(m[3]), (m[4] or "").split()) for m in rows}


def test_each_route_is_on_the_page() -> None:
    routes = {(method, path) for path, methods in API_ROUTES.items() for method in methods}
    assert documented().keys() == REQUESTS.keys() == {r for r in routes if r[0] != "HEAD"}
