"""Lease-Token on a mutation: done under the current lease only."""

import pytest
from httpx import AsyncClient

from tests.app.calls import MUTATIONS, READS, SESSION, everything, make
from tests.conftest import Serve
from tests.polling import eventually
from tests.problems import assert_problem

LEASE = f"{SESSION}/lease"


async def take(client: AsyncClient, url: str = LEASE, **wish: float) -> dict[str, str]:
    response = await client.post(url, json=wish)
    assert response.status_code == 201, response.text
    return {"Lease-Token": response.json()["token"]}


@pytest.mark.parametrize("does", MUTATIONS)
async def test_who_holds_the_lease_may_write(client: AsyncClient, does: str) -> None:
    await make(client)
    mine = await take(client)

    response = await MUTATIONS[does].send(client, mine)
    assert response.is_success
    assert (await client.patch(LEASE, headers=mine)).status_code == 200


@pytest.mark.parametrize("does", MUTATIONS)
async def test_another_token_is_423_and_changes_nothing(client: AsyncClient, does: str) -> None:
    await make(client)
    before = await everything(client)

    nobody_holds_it = await MUTATIONS[does].send(client, {"Lease-Token": "x"})
    mine = await take(client)
    others = await take(client, "/v1/sessions/b/lease")
    refused = [await MUTATIONS[does].send(client, others)]
    await client.delete(LEASE, headers=mine)
    refused += [await MUTATIONS[does].send(client, mine)]
    await take(client)
    refused += [await MUTATIONS[does].send(client, mine)]

    for response in (nobody_holds_it, *refused):
        assert_problem(response, 423, "wrong_lease")
    assert await everything(client) == before
    assert_problem(await client.get("/v1/sessions/b"), 404)


@pytest.mark.parametrize("does", sorted(MUTATIONS.keys() - {"patch_session"}))
async def test_a_lease_is_looked_at_where_there_is_no_session(api: AsyncClient, does: str) -> None:
    response = await MUTATIONS[does].send(api, {"Lease-Token": "x"})

    assert_problem(response, 423, "wrong_lease")
    assert_problem(await api.get(SESSION), 404)


@pytest.mark.parametrize("does", MUTATIONS)
async def test_without_a_token_a_lease_stands_in_nobodys_way(api: AsyncClient, does: str) -> None:
    await make(api)
    await take(api)

    assert (await MUTATIONS[does].send(api)).is_success


@pytest.mark.parametrize("tokens", [[""], ["a", "b"]])
@pytest.mark.parametrize("does", MUTATIONS)
async def test_a_token_that_cannot_be_read_is_400(
    api: AsyncClient, does: str, tokens: list[str]
) -> None:
    await make(api)
    before, call = await everything(api), MUTATIONS[does]
    headers = [("Lease-Token", token) for token in tokens]

    response = await api.request(call.method, call.path(), content=call.body, headers=headers)
    assert_problem(response, 400, at="/headers/lease-token")
    assert await everything(api) == before


@pytest.mark.parametrize("does", READS)
async def test_a_read_needs_no_lease(api: AsyncClient, does: str) -> None:
    await make(api)
    await take(api)

    assert (await READS[does].send(api, {"Lease-Token": "x"})).status_code == 200


async def test_a_late_writer_is_kept_out(client: AsyncClient) -> None:
    await make(client)
    late = await take(client, ttl=0.1)

    async def take_over() -> int:
        return (await client.post(LEASE)).status_code

    await eventually(take_over, lambda status: status == 201)
    assert_problem(await MUTATIONS["append"].send(client, late), 423, "wrong_lease")


async def test_a_lease_goes_before_conditions_and_after_repetitions(client: AsyncClient) -> None:
    await make(client)
    mine = await take(client)
    keyed = {"Idempotency-Key": "k", **mine}
    first = await MUTATIONS["append"].send(client, keyed)
    await client.delete(LEASE, headers=mine)

    again = await MUTATIONS["append"].send(client, keyed)
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    both = {"If-Match": '"x"', "Lease-Token": "x", "Idempotency-Key": "other"}
    for _ in range(2):
        refused = await MUTATIONS["append"].send(client, both)
        assert_problem(refused, 423, "wrong_lease")
        assert "Idempotency-Replayed" not in refused.headers


async def test_a_lease_of_another_namespace_is_none(start: Serve) -> None:
    async with start(API_KEYS="one:rw:key-of-one,two:rw:key-of-two") as api:
        one, two = ({"Authorization": f"Bearer key-of-{name}"} for name in ("one", "two"))
        taken = await api.post(LEASE, headers=one)
        assert (await api.post(LEASE, headers=two)).status_code == 201
        token = {"Lease-Token": taken.json()["token"]}

        assert_problem(await api.put(SESSION, headers=two | token), 423, "wrong_lease")
        assert (await api.put(SESSION, headers=one | token)).status_code == 201
