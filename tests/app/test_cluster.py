"""The whole service over a cluster: sessions of all nodes, listed, copied, leased, and health."""

from httpx import AsyncClient

from service.settings import load_settings
from tests.app.calls import MUTATIONS, READS, make
from tests.clusters import start_cluster
from tests.conftest import run_app
from tests.polling import eventually


async def health(client: AsyncClient) -> dict[str, object]:
    redis: dict[str, object] = (await client.get("/health")).json()["redis"]
    return redis


async def test_the_service_works_over_a_cluster() -> None:
    with start_cluster("valkey", replicas=0) as cluster:
        async with run_app(load_settings({"REDIS_URL": cluster.url})) as client:
            redis = await eventually(lambda: health(client), lambda it: bool(it["connected"]))
            assert redis["lastError"] is None
            await every_call(client)
            await every_session(client)


async def every_call(client: AsyncClient) -> None:
    """Make each call of each route once; "copy" makes a session of another slot."""
    for call in (*READS.values(), *MUTATIONS.values()):
        await client.delete("/v1/sessions/a")
        await client.delete("/v1/sessions/b")
        await make(client)
        answer = await call.send(client)
        assert answer.is_success, (call.does, answer.text)
    for name in "ab":
        await client.delete(f"/v1/sessions/{name}")


async def every_session(client: AsyncClient) -> None:
    """List, lease, read from memory and delete sessions of all nodes."""
    names = {f"chat-{number}" for number in range(30)}
    for name in names:
        path = f"/v1/sessions/{name}"
        await client.post(f"{path}/messages", json={"messages": [{"name": name}]})
        lease = await client.post(f"{path}/lease", json={"ttl": 30})
        token = {"Lease-Token": lease.json()["token"]}
        assert (await client.patch(path, json={}, headers=token)).status_code == 200
        assert (await client.delete(f"{path}/lease", headers=token)).status_code == 204
    found: list[str] = []
    params = {"limit": "7"}
    while params:
        page = (await client.get("/v1/sessions", params=params)).json()
        found += [session["id"] for session in page["sessions"]]
        params = {"limit": "7", "cursor": page["next"]} if page["next"] else {}
    assert set(found) == names
    for name in names:
        answer = (await client.get(f"/v1/sessions/{name}/messages")).json()
        assert [each["message"] for each in answer["messages"]] == [{"name": name}]
