"""ETag, If-Match and If-None-Match on every route (RFC 9110, 13.1)."""

import pytest
from httpx import AsyncClient

from tests.app.calls import (
    CREATING,
    MUTATIONS,
    OF_ONE_VALUE,
    READS,
    SESSION,
    RouteCall,
    etag_for,
    everything,
    make,
    untried_routes,
)
from tests.problems import assert_problem

ALL = MUTATIONS | READS
MAY_BE_ABSENT = sorted(MUTATIONS.keys() - {"patch_session", "copy"})


def test_every_route_of_a_session_is_tried() -> None:
    assert untried_routes() == set()


@pytest.mark.parametrize("does", MUTATIONS)
async def test_a_mutation_whose_if_match_holds_is_done(client: AsyncClient, does: str) -> None:
    await make(client)
    etag = await etag_for(client, does)

    response = await MUTATIONS[does].send(client, {"If-Match": f'"x", {etag}'})
    assert response.is_success


@pytest.mark.parametrize("does", MUTATIONS)
@pytest.mark.parametrize("condition", ['"x-1"', "W/{etag}", '"*"', '"x-1", "y-2"', "x"])
async def test_a_mutation_whose_if_match_fails_changes_nothing(
    client: AsyncClient, does: str, condition: str
) -> None:
    await make(client)
    etag, before = await etag_for(client, does), await everything(client)

    headers = {"If-Match": condition.replace("{etag}", etag)}
    response = await MUTATIONS[does].send(client, headers)
    if condition == "x":
        assert_problem(response, 400, at="/headers/if-match")
    else:
        assert assert_problem(response, 412, "precondition_failed")["etag"] == etag
        assert response.headers["ETag"] == etag
    assert await everything(client) == before
    assert_problem(await client.get("/v1/sessions/b"), 404)


@pytest.mark.parametrize("does", MAY_BE_ABSENT)
async def test_if_match_never_holds_for_what_is_not_there(api: AsyncClient, does: str) -> None:
    for condition in ("*", '"x-1"'):
        response = await MUTATIONS[does].send(api, {"If-Match": condition})
        assert assert_problem(response, 412)["etag"] is None
        assert "ETag" not in response.headers
    assert_problem(await api.get(SESSION), 404)


@pytest.mark.parametrize("does", ["patch_session", "copy"])
async def test_what_needs_a_session_is_404_whatever_the_condition(
    api: AsyncClient, does: str
) -> None:
    for headers in ({"If-Match": "*"}, {"If-None-Match": "*"}, {"If-Match": '"x-1"'}):
        assert_problem(await MUTATIONS[does].send(api, headers), 404, "session_not_found")


@pytest.mark.parametrize("does", sorted(CREATING))
async def test_if_none_match_any_creates_once(client: AsyncClient, does: str) -> None:
    first = await MUTATIONS[does].send(client, {"If-None-Match": "*"})
    second = await MUTATIONS[does].send(client, {"If-None-Match": "*"})

    assert first.is_success
    assert assert_problem(second, 412)["etag"] == first.headers["ETag"]


@pytest.mark.parametrize("does", MUTATIONS)
async def test_if_none_match_refuses_what_is_listed(api: AsyncClient, does: str) -> None:
    await make(api)
    etag, before = await etag_for(api, does), await everything(api)

    for condition in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        assert_problem(await MUTATIONS[does].send(api, {"If-None-Match": condition}), 412)
    assert await everything(api) == before
    assert (await MUTATIONS[does].send(api, {"If-None-Match": '"x", "*"'})).is_success


@pytest.mark.parametrize("does", READS)
async def test_a_reader_that_has_it_already_is_told_so(client: AsyncClient, does: str) -> None:
    await make(client)
    etag = await etag_for(client, does)

    for condition in (etag, f"W/{etag}", f'"x",,{etag}', "*"):
        response = await READS[does].send(client, {"If-None-Match": condition})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["ETag"] == etag
        assert "Content-Type" not in response.headers
        assert "Session-TTL" in response.headers
    assert (await READS[does].send(client, {"If-None-Match": '"x-1"'})).status_code == 200


@pytest.mark.parametrize("does", READS)
async def test_a_read_whose_if_match_fails_is_412(api: AsyncClient, does: str) -> None:
    await make(api)
    etag = await etag_for(api, does)

    response = await READS[does].send(api, {"If-Match": '"x-1"'})
    assert assert_problem(response, 412)["etag"] == etag
    assert (await READS[does].send(api, {"If-Match": "*"})).status_code == 200
    assert (await READS[does].send(api, {"If-Match": etag})).status_code == 200


@pytest.mark.parametrize("does", ["messages", "state", "values"])
async def test_a_list_of_nothing_matches_nothing(api: AsyncClient, does: str) -> None:
    for condition in ("*", '"x-1"'):
        response = await READS[does].send(api, {"If-Match": condition})
        assert assert_problem(response, 412)["etag"] is None
        assert (await READS[does].send(api, {"If-None-Match": condition})).status_code == 200


async def test_a_batch_that_only_gets_has_conditions_and_no_304(api: AsyncClient) -> None:
    send = RouteCall("get", "POST", "/v1/sessions/{id}/state", b'{"get":["k"]}').send
    assert assert_problem(await send(api, {"If-Match": "*"}), 412)["etag"] is None
    etag = (await make(api)).headers["ETag"]

    assert_problem(await send(api, {"If-None-Match": etag}), 412)
    assert_problem(await send(api, {"If-Match": '"x"'}), 412)
    assert (await send(api, {"If-Match": etag})).status_code == 200


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("does", ALL)
@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
async def test_a_condition_that_cannot_be_read_is_400(
    api: AsyncClient, header: str, does: str, *, exists: bool
) -> None:
    if exists:
        await make(api)
    for condition in ("", "abc", '"a', '"a" "b"', '*, "a"', 'w/"a"', '"a"x', ","):
        response = await ALL[does].send(api, {header: condition})
        assert_problem(response, 400, at=f"/headers/{header.lower()}")


async def test_conditions_may_come_in_several_lines(api: AsyncClient) -> None:
    etag = (await make(api)).headers["ETag"]
    lines = [("If-None-Match", '"x"'), ("If-None-Match", etag)]

    assert (await api.get(SESSION, headers=lines)).status_code == 304


@pytest.mark.parametrize("does", MUTATIONS)
async def test_a_late_write_cannot_hit_a_session_that_was_made_anew(
    api: AsyncClient, does: str
) -> None:
    await make(api)
    etag = await etag_for(api, does)
    await api.delete(SESSION)
    await make(api)

    assert_problem(await MUTATIONS[does].send(api, {"If-Match": etag}), 412)


async def test_a_value_is_conditional_on_itself_and_not_on_its_session(client: AsyncClient) -> None:
    session_etag = (await make(client)).headers["ETag"]
    etag = (await client.get(f"{SESSION}/state/k")).headers["ETag"]
    put, delete, read = (ALL[does].send for does in ("put_value", "delete_value", "value"))

    for does in OF_ONE_VALUE:
        assert_problem(await ALL[does].send(client, {"If-Match": session_etag}), 412)
    assert (await read(client, {"If-None-Match": etag})).status_code == 304
    assert (await delete(client, {"If-Match": etag})).status_code == 204
    assert (await put(client, {"If-None-Match": "*"})).status_code == 201
