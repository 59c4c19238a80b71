"""ETag, If-Match and If-None-Match on every route (RFC 9110, 13.1)."""

from collections.abc import Awaitable, Callable

import pytest
from httpx import AsyncClient, Response

from tests.problems import assert_problem

SESSION = "/v1/sessions/a"
Headers = dict[str, str]
Send = Callable[[AsyncClient, Headers], Awaitable[Response]]


def sender(method: str, path: str, content: bytes | None = None) -> Send:
    async def send(client: AsyncClient, headers: Headers) -> Response:
        return await client.request(method, SESSION + path, content=content, headers=headers)

    return send


CREATING = {
    "put_session": sender("PUT", "", b'{"ttl":60}'),
    "append": sender("POST", "/messages", b'{"messages":[{}]}'),
    "batch": sender("POST", "/state", b'{"set":{"k":2}}'),
    "put_value": sender("PUT", "/state/k", b"2"),
}
MUTATING = CREATING | {
    "patch_session": sender("PATCH", "", b'{"ttl":60}'),
    "delete_session": sender("DELETE", ""),
    "delete_value": sender("DELETE", "/state/k"),
}
READING = {
    "session": sender("GET", ""),
    "whole": sender("GET", "?include=state,messages"),
    "messages": sender("GET", "/messages"),
    "state": sender("GET", "/state"),
    "values": sender("GET", "/state?values=true"),
    "value": sender("GET", "/state/k"),
}
ALL = MUTATING | READING


async def create(client: AsyncClient) -> str:
    """Make a session whose own ETag is that of its only value."""
    response = await client.put(f"{SESSION}/state/k", content=b"1")
    assert response.status_code == 201
    return response.headers["ETag"]


async def snapshot(client: AsyncClient) -> bytes:
    return (await client.get(f"{SESSION}?include=state,messages")).content


@pytest.mark.parametrize("name", MUTATING)
async def test_a_mutation_whose_if_match_holds_is_done(client: AsyncClient, name: str) -> None:
    etag = await create(client)

    response = await MUTATING[name](client, {"If-Match": f'"x", {etag}'})
    assert response.is_success


@pytest.mark.parametrize("name", MUTATING)
@pytest.mark.parametrize("condition", ['"x-1"', "W/{etag}", '"*"', '"x-1", "y-2"', "x"])
async def test_a_mutation_whose_if_match_fails_changes_nothing(
    client: AsyncClient, name: str, condition: str
) -> None:
    etag = await create(client)
    before = await snapshot(client)

    response = await MUTATING[name](client, {"If-Match": condition.replace("{etag}", etag)})
    if condition == "x":
        assert_problem(response, 400, at="/headers/if-match")
    else:
        assert assert_problem(response, 412, "precondition_failed")["etag"] == etag
        assert response.headers["ETag"] == etag
    assert await snapshot(client) == before


@pytest.mark.parametrize("name", CREATING | {"delete_session": None, "delete_value": None})
async def test_if_match_never_holds_for_what_is_not_there(api: AsyncClient, name: str) -> None:
    for condition in ("*", '"x-1"'):
        response = await MUTATING[name](api, {"If-Match": condition})
        assert assert_problem(response, 412)["etag"] is None
    assert_problem(await api.get(SESSION), 404)


@pytest.mark.parametrize("name", CREATING)
async def test_if_none_match_any_creates_once(client: AsyncClient, name: str) -> None:
    first = await CREATING[name](client, {"If-None-Match": "*"})
    second = await CREATING[name](client, {"If-None-Match": "*"})

    assert first.is_success
    assert assert_problem(second, 412)["etag"] == first.headers["ETag"]


@pytest.mark.parametrize("name", MUTATING)
async def test_if_none_match_refuses_what_is_listed(api: AsyncClient, name: str) -> None:
    etag = await create(api)

    for condition in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        assert_problem(await MUTATING[name](api, {"If-None-Match": condition}), 412)
    assert (await MUTATING[name](api, {"If-None-Match": '"x", "*"'})).is_success


@pytest.mark.parametrize("name", READING)
async def test_a_reader_that_has_it_already_is_told_so(client: AsyncClient, name: str) -> None:
    etag = await create(client)

    for condition in (etag, f"W/{etag}", f'"x",,{etag}', "*"):
        response = await READING[name](client, {"If-None-Match": condition})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["ETag"] == etag
        assert "Content-Type" not in response.headers
        assert "Session-TTL" in response.headers
    assert (await READING[name](client, {"If-None-Match": '"x-1"'})).status_code == 200


@pytest.mark.parametrize("name", READING)
async def test_a_read_whose_if_match_fails_is_412(api: AsyncClient, name: str) -> None:
    etag = await create(api)

    response = await READING[name](api, {"If-Match": '"x-1"'})
    assert assert_problem(response, 412)["etag"] == etag
    assert (await READING[name](api, {"If-Match": "*"})).status_code == 200
    assert (await READING[name](api, {"If-Match": etag})).status_code == 200


async def test_a_batch_that_only_gets_has_conditions_and_no_304(api: AsyncClient) -> None:
    etag = await create(api)
    send = sender("POST", "/state", b'{"get":["k"]}')

    assert_problem(await send(api, {"If-None-Match": etag}), 412)
    assert_problem(await send(api, {"If-Match": '"x"'}), 412)
    assert (await send(api, {"If-Match": etag})).status_code == 200


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
async def test_a_condition_that_cannot_be_read_is_400(
    api: AsyncClient, header: str, name: str, *, exists: bool
) -> None:
    if exists:
        await create(api)
    for condition in ("", "abc", '"a', '"a" "b"', '*, "a"', 'w/"a"', '"a"x', ","):
        response = await ALL[name](api, {header: condition})
        assert_problem(response, 400, at=f"/headers/{header.lower()}")


async def test_conditions_may_come_in_several_lines(api: AsyncClient) -> None:
    etag = await create(api)
    lines = [("If-None-Match", '"x"'), ("If-None-Match", etag)]

    assert (await api.get(SESSION, headers=lines)).status_code == 304


@pytest.mark.parametrize("name", MUTATING)
async def test_a_late_write_cannot_hit_a_session_that_was_made_anew(
    api: AsyncClient, name: str
) -> None:
    etag = await create(api)
    await api.delete(SESSION)
    await create(api)

    assert_problem(await MUTATING[name](api, {"If-Match": etag}), 412)


async def test_a_value_is_conditional_on_itself_and_not_on_its_session(client: AsyncClient) -> None:
    etag = await create(client)
    await client.put(f"{SESSION}/state/other", content=b"1")
    session_etag = (await client.get(SESSION)).headers["ETag"]

    put, delete = MUTATING["put_value"], MUTATING["delete_value"]
    assert_problem(await put(client, {"If-Match": session_etag}), 412)
    assert (await READING["value"](client, {"If-None-Match": etag})).status_code == 304
    assert (await delete(client, {"If-Match": etag})).status_code == 204
    assert (await put(client, {"If-None-Match": "*"})).status_code == 201
