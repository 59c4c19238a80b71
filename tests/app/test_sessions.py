"""Sessions over HTTP: create, read, change, delete."""

import asyncio
from time import monotonic
from urllib.parse import quote

import pytest
from httpx import AsyncClient, Response

from tests.conftest import Serve
from tests.polling import eventually
from tests.problems import assert_problem

URL = "/v1/sessions/a"
MEMBERS = {
    "id",
    "etag",
    "created_at",
    "updated_at",
    "expires_at",
    "ttl",
    "touch",
    "max_age",
    "max_messages",
    "message_count",
    "state_key_count",
}


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


async def test_a_session_made_without_settings_has_the_defaults(client: AsyncClient) -> None:
    created = await client.put(URL)
    document = created.json()

    assert created.status_code == 201
    assert document.keys() == MEMBERS
    assert (document["ttl"], document["touch"], document["max_age"]) == (2_592_000, "write", None)
    assert (document["max_messages"], document["message_count"]) == (1_000, 0)
    assert document["state_key_count"] == 0
    assert created.headers["Session-Expires"] == document["expires_at"]


async def test_what_put_answers_is_what_get_answers(client: AsyncClient) -> None:
    created = await client.put(URL, json={"ttl": 0.5, "max_age": 9, "touch": "never"})
    read = await client.get(URL)

    assert read.status_code == 200
    assert read.json() == created.json()
    assert read.headers["ETag"] == created.headers["ETag"]


async def test_a_session_that_is_not_there_is_not_found(api: AsyncClient) -> None:
    for method in ("GET", "PATCH"):
        response = await api.request(method, URL, content=b"{}")
        assert_problem(response, 404, "session_not_found")


async def test_a_put_without_settings_changes_nothing_but_the_expiry(client: AsyncClient) -> None:
    created = (await client.put(URL)).json()

    async def put_nothing() -> Response:
        return await client.put(URL, json={})

    later = await eventually(put_nothing, lambda r: r.json()["expires_at"] != created["expires_at"])
    assert later.status_code == 200
    assert later.json() | {"expires_at": ""} == created | {"expires_at": ""}


async def test_patch_changes_what_it_names_and_null_is_the_default(client: AsyncClient) -> None:
    settings = {"ttl": 5, "touch": "access", "max_age": 7, "max_messages": 3}
    await client.put(URL, json=settings)

    patched = await client.patch(URL, json={"ttl": 6})
    assert {name: patched.json()[name] for name in settings} == settings | {"ttl": 6}

    nulls = dict.fromkeys(settings)
    reset = await client.patch(
        URL, json=nulls, headers={"Content-Type": "application/merge-patch+json"}
    )
    assert [reset.json()[name] for name in settings] == [2_592_000, "write", None, 1_000]


async def test_an_empty_patch_touches(client: AsyncClient) -> None:
    created = (await client.put(URL)).json()

    async def touch() -> Response:
        return await client.patch(URL, json={})

    touched = await eventually(touch, lambda r: r.json()["expires_at"] != created["expires_at"])
    assert touched.json()["etag"] == created["etag"]


async def test_a_null_ttl_is_never(client: AsyncClient) -> None:
    created = await client.put(URL, json={"ttl": None})

    assert created.json()["ttl"] is None
    assert created.json()["expires_at"] is None
    assert not {"Session-Expires", "Session-TTL"} & {name.title() for name in created.headers}


async def test_a_deleted_session_is_gone_and_its_id_is_free(client: AsyncClient) -> None:
    first = await client.post(f"{URL}/messages", json={"messages": [{}]})

    for _ in range(2):
        deleted = await client.delete(URL)
        assert (deleted.status_code, deleted.content) == (204, b"")
    assert_problem(await client.get(URL), 404)

    again = await client.post(f"{URL}/messages", json={"messages": [{}]})
    assert again.json()["first_seq"] == 1
    assert again.json()["etag"] != first.json()["etag"]


async def test_a_session_expires(client: AsyncClient) -> None:
    created = await client.put(f"{URL}/state/k?", content=b"1")
    await client.patch(URL, json={"ttl": 0.001})

    async def read() -> Response:
        return await client.get(URL)

    await eventually(read, lambda r: r.status_code == 404)
    assert_problem(await client.get(f"{URL}/state/k"), 404, "session_not_found")
    assert (await client.get(f"{URL}/messages")).json()["messages"] == []
    again = await client.put(f"{URL}/state/k", content=b"1")
    assert again.status_code == 201
    assert again.headers["ETag"] != created.headers["ETag"]


async def test_max_age_caps_what_writes_renew(client: AsyncClient) -> None:
    created = (await client.put(URL, json={"ttl": 100, "max_age": 50})).json()
    written = await client.post(f"{URL}/messages", json={"messages": [{}], "ttl": 100})

    assert written.headers["Session-Expires"] == created["expires_at"]
    assert int(written.headers["Session-TTL"]) <= 50


async def test_without_touch_only_a_ttl_in_the_call_renews(client: AsyncClient) -> None:
    ends = (await client.put(URL, json={"ttl": 60, "touch": "never"})).json()["expires_at"]

    for _ in range(5):
        written = await client.post(f"{URL}/messages", json={"messages": [{}]})
        assert written.headers["Session-Expires"] == ends

    async def write_with_ttl() -> Response:
        return await client.post(f"{URL}/state", json={"ttl": 60})

    await eventually(write_with_ttl, lambda r: r.headers["Session-Expires"] > ends)


async def test_with_touch_access_every_kind_of_read_renews(api: AsyncClient) -> None:
    async def is_renewed_by(path: str) -> None:
        session = f"/v1/sessions/{quote(path, safe='')}-"
        await api.put(f"{session}/state/k", content=b"1")
        message = {"messages": [{"id": 1}], "dedupe": "id"}
        await api.post(f"{session}/messages", json=message)
        created = await api.put(session, json={"ttl": 60, "touch": "access"})
        ends = created.headers["Session-Expires"]

        async def read() -> Response:
            return await api.get(session + path)

        assert (await read()).headers["Session-Expires"] == ends
        renewed = await eventually(read, lambda r: r.headers["Session-Expires"] > ends)
        assert renewed.headers["Session-TTL"] == "60"

    paths = (
        "", "?include=state,messages", "/messages", "/messages?id=1", "/messages/1", "/state",
        "/state?values=true", "/state/k",
    )  # fmt: skip
    await asyncio.gather(*map(is_renewed_by, paths))


async def test_a_whole_turn_is_read_in_one_call(client: AsyncClient) -> None:
    await client.post(f"{URL}/state", content=b'{"set":{"k":[1.0]}}')
    await client.post(f"{URL}/messages", content=b'{"messages":[{"n":1},{"n":2.50}]}')

    whole = await client.get(URL, params={"include": "state,messages", "last": "1"})
    assert whole.json().keys() == MEMBERS | {
        "state", "messages", "first_seq", "last_seq", "total", "next", "prev",
    }  # fmt: skip
    assert b'"state":{"k":[1.0]}' in whole.content
    assert b'"message":{"n":2.50}' in whole.content
    assert (whole.json()["total"], whole.json()["prev"], whole.json()["next"]) == (2, 2, None)

    assert (await client.get(URL, params={"include": "state"})).json().keys() == MEMBERS | {"state"}
    newest = await client.get(URL, params={"include": "messages", "after": "1"})
    assert [message["seq"] for message in newest.json()["messages"]] == [2]


@pytest.mark.parametrize(
    "query", ["include=all", "include=state,state", "include=state,", "last=1"]
)
async def test_an_include_that_cannot_be_read_is_refused(api: AsyncClient, query: str) -> None:
    assert_problem(await api.get(f"{URL}?{query}"), 400, at=f"/query/{query.partition('=')[0]}")


async def test_an_include_that_is_too_large_is_413_with_the_limit(start: Serve) -> None:
    limits = {"MAX_ANSWER_BYTES": "1024", "MAX_VALUE_BYTES": "512", "MAX_MESSAGE_BYTES": "512"}
    async with start(**limits) as api:
        for number in range(3):
            await api.put(f"{URL}/state/{number}", content=b"x" * 500)
            await api.post(f"{URL}/messages", json={"messages": [{"x": "y" * 480}]})

        for parts in ("state", "messages", "state,messages"):
            problem = assert_problem(await api.get(URL, params={"include": parts}), 413)
            assert problem["limit"] == 1_024
        assert (await api.get(URL, params={"include": "messages", "last": "1"})).status_code == 200


@pytest.mark.parametrize("name", ["ttl", "max_age"])
@pytest.mark.parametrize(
    "text",
    [
        "0", "-1", "-0.0", "0.0005", "1.0015", "1e-4", "315360000.001", "1e999999999",
        "1e-999999999", "1e99999999999999999999", '"60"', "true", "[]", "{}",
        "0." + "0" * 9999 + "1",
    ],
)  # fmt: skip
async def test_seconds_out_of_range_are_refused_fast(
    api: AsyncClient, name: str, text: str
) -> None:
    began = monotonic()
    response = await api.put(URL, content=f'{{"{name}":{text}}}'.encode())

    assert_problem(response, 400, at=f"/{name}")
    assert monotonic() - began < 0.5
    assert_problem(await api.get(URL), 404)


@pytest.mark.parametrize(
    ("text", "answered"),
    [
        ("0.001", "0.001"),
        ("1e3", "1000"),
        ("1.5", "1.5"),
        ("2.0", "2"),
        ("315360000", "315360000"),
        ("null", "null"),
    ],
)
async def test_seconds_within_range_are_kept(api: AsyncClient, text: str, answered: str) -> None:
    created = await api.put(URL, content=f'{{"max_age":{text}}}'.encode())

    assert created.status_code == 201
    assert f'"max_age":{answered},' in created.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("max_messages", text) for text in ("0", "1000001", "1.5", '"5"', "null", "true")),
        ("max_messages", "9" * 5_000),
        *(("touch", text) for text in ('"sometimes"', '"WRITE"', "1", "null", "[]")),
    ],
)
async def test_other_settings_out_of_range_are_refused(
    api: AsyncClient, name: str, text: str
) -> None:
    response = await api.put(URL, content=f'{{"{name}":{text}}}'.encode())

    assert_problem(response, 400, at=f"/{name}")
