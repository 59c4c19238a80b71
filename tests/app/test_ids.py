"""Ids and state keys in paths: one percent-encoded segment, nothing normalised or folded."""

from urllib.parse import quote

import pytest
from httpx import AsyncClient

from tests.problems import assert_problem

ODD = [
    "a/b", "/", "a//b", "a%2Fb", "%", "{a}", "}{", "*", "?", "#", "a b", "a+b", "...", ".a", "~",
    "\u00e9", "e\u0301", "\U0001f600", "\u0080", "\u2028", "A", "x" * 256, "\u00e9" * 128, "\\",
    ":", ";v=1", "state", "&=", "'\"",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_name_is_kept_as_it_is(client: AsyncClient, name: str) -> None:
    segment = quote(name, safe="")
    url = f"/v1/sessions/{segment}"
    put = await client.put(f"{url}/state/{segment}", content=b"1")
    assert put.status_code == 201

    session = await client.get(f"{url}?include=state")
    assert session.json()["id"] == name
    assert list(session.json()["state"]) == [name]
    assert (await client.get(f"{url}/state/{segment}")).content == b"1"


async def test_names_are_neither_normalised_nor_folded(client: AsyncClient) -> None:
    names = ["\u00e9", "e\u0301", "E", "e", "e ", "%65"]
    for name in names:
        assert (await client.put(f"/v1/sessions/{quote(name, safe='')}")).status_code == 201


async def test_escapes_that_are_not_needed_mean_the_same(client: AsyncClient) -> None:
    await client.put("/v1/sessions/abc")

    assert (await client.get("/v1/sessions/%61b%63")).json()["id"] == "abc"


@pytest.mark.parametrize(
    "segment",
    [
        "", "%2E", "%2e%2E", ".%2e", "%00", "a%1f", "%7F", "a%0Ab", "%ff", "%C3", "%ED%A0%80",
        "%F5%80%80%80", "%C0%AF",
    ],
)  # fmt: skip
async def test_a_name_that_cannot_be_is_refused(api: AsyncClient, segment: str) -> None:
    assert_problem(await api.get(f"/v1/sessions/{segment}"), 400, at="/path/id")
    assert_problem(await api.get(f"/v1/sessions/{segment}/messages"), 400, at="/path/id")
    response = await api.put(f"/v1/sessions/a/state/{segment}", content=b"1")
    assert_problem(response, 400, at="/path/key")


async def test_names_have_their_longest_in_bytes(api: AsyncClient) -> None:
    longer = quote("\u00e9" * 128 + "x")
    key = quote("\u00e9" * 256)

    assert_problem(await api.put(f"/v1/sessions/{longer}"), 400, at="/path/id")
    assert (await api.put(f"/v1/sessions/a/state/{key}")).status_code == 201
    assert_problem(await api.put(f"/v1/sessions/a/state/{key}x"), 400, at="/path/key")


@pytest.mark.parametrize(
    "path",
    [
        "/v1", "/v1/", "/v1/session", "/v1/session/a", "/v1/sessions/a/", "/v1/sessions/a/x",
        "/v1/sessions/a/state/b/", "/v1/sessions/a/state/b/c", "//v1/sessions/a", "/V1/sessions/a",
        "/v1/sessions/a/messages/1/", "/v1/sessions/a/copy/", "/v1/sessions/a/lease/x",
        "/nothing", "/%2Fhealth", "/health/", "/v1%2Fsessions/a",
    ],
)  # fmt: skip
async def test_there_is_nothing_at_other_paths(api: AsyncClient, path: str) -> None:
    assert_problem(await api.get(f"http://localhost{path}"), 404, "no_such_path")
