"""Sessions over HTTP: create, read, change, delete."""

from httpx import AsyncClient


async def test_a_session_is_created_once_and_then_changed(client: AsyncClient) -> None:
    created = await client.put("/v1/sessions/a%2Fb", json={"ttl": 60})
    changed = await client.put("/v1/sessions/a%2Fb", json={"max_messages": 5})

    assert created.status_code == 201
    assert changed.status_code == 200
    assert changed.json()["id"] == "a/b"
    assert changed.json()["ttl"] == 60
    assert changed.json()["max_messages"] == 5
    assert changed.headers["ETag"] == changed.json()["etag"] != created.json()["etag"]
    assert changed.headers["Session-TTL"] == "60"
