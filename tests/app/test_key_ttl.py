"""Keys that expire by themselves: given, kept, cleared, and gone for every reader at once."""

import pytest
from httpx import AsyncClient, Response

from tests.app.calls import COLD, SESSION, everything
from tests.polling import eventually
from tests.problems import assert_problem

STATE = f"{SESSION}/state"
URL = f"{STATE}/k"
SHORT = {"key_ttl": "0.03"}
JSON = {"Content-Type": "application/json"}
NO_SECONDS = [
    "0", "-1", "0.0005", "1.0001", "315360000.001", "1e999999999", "1e-999999999", "-0.0", "0x1",
]  # fmt: skip


async def set_short(client: AsyncClient, text: bytes = b"1") -> Response:
    response = await client.put(URL, content=text, params=SHORT, headers=JSON)
    assert response.is_success, response.text
    return response


async def until_it_expired(client: AsyncClient) -> None:
    async def read() -> Response:
        return await client.get(URL, headers=COLD)

    await eventually(read, lambda response: response.status_code == 404)


@pytest.mark.parametrize("headers", [{}, COLD])
@pytest.mark.parametrize("is_held", [True, False])
async def test_an_expired_key_is_gone_for_every_reader(
    client: AsyncClient, headers: dict[str, str], *, is_held: bool
) -> None:
    await client.put(f"{STATE}/other", content=b"2", headers=JSON)
    await set_short(client)
    if is_held:
        assert b'"k":1' in (await client.get(f"{SESSION}?include=state")).content
    await until_it_expired(client)

    assert_problem(await client.get(URL, headers=headers), 404, "key_not_found")
    batch = await client.post(STATE, json={"get": ["k", "other"]}, headers=headers)
    assert batch.json()["values"] == {"k": None, "other": 2}
    assert (await client.get(STATE, headers=headers)).json()["keys"] == ["other"]
    listed = await client.get(STATE, params={"values": "true"}, headers=headers)
    assert listed.json()["values"] == {"other": 2}
    one = await client.get(STATE, params={"limit": "1"}, headers=headers)
    assert one.json() == {"keys": ["other"], "next": None}
    whole = await client.get(SESSION, params={"include": "state"}, headers=headers)
    assert whole.json()["state"] == {"other": 2}
    assert whole.json()["state_key_count"] == 1
    assert (await client.get(SESSION, headers=headers)).json()["state_key_count"] == 1
    sessions = (await client.get("/v1/sessions")).json()["sessions"]
    assert [session["state_key_count"] for session in sessions] == [1]
    written = await client.post(STATE, json={"set": {"x": None}, "get": ["k"]}, headers=headers)
    assert written.json()["values"] == {"k": None}


async def test_before_it_expires_a_key_is_as_any_other(client: AsyncClient) -> None:
    created = await client.put(URL, content=b" 1.0 ", params={"key_ttl": "60"}, headers=JSON)

    assert created.status_code == 201
    assert (await client.get(URL)).content == b" 1.0 "
    assert (await client.get(URL)).headers["ETag"] == created.headers["ETag"]
    assert (await client.get(SESSION)).json()["state_key_count"] == 1


async def test_a_batch_gives_it_to_all_that_it_sets(client: AsyncClient) -> None:
    await client.post(STATE, json={"set": {"kept": 1}})
    body = {"set": {"k": 1, "j": 2, "none": None}, "merge": {"m": {"x": 1}}, "key_ttl": 0.03}
    await client.post(STATE, json=body)
    await until_it_expired(client)

    assert (await client.get(STATE)).json()["keys"] == ["kept", "m"]


async def test_a_set_without_it_clears_it(client: AsyncClient) -> None:
    await set_short(client)
    await client.put(f"{STATE}/j", content=b"1", params=SHORT)
    await client.put(URL, content=b"2", headers=JSON)
    await client.post(STATE, json={"set": {"j": 2}})
    await client.put(f"{STATE}/probe", content=b"1", params=SHORT)

    async def keys() -> list[str]:
        names: list[str] = (await client.get(STATE)).json()["keys"]
        return names

    assert await eventually(keys, lambda names: "probe" not in names) == ["j", "k"]


async def test_a_set_with_it_gives_a_new_one(client: AsyncClient) -> None:
    await client.put(URL, content=b"1", params={"key_ttl": "60"})
    await set_short(client)

    await until_it_expired(client)


async def test_a_merge_keeps_it(client: AsyncClient) -> None:
    await set_short(client, b'{"x":1}')
    merged = await client.post(STATE, json={"merge": {"k": {"y": 2}}, "get": ["k"]})
    assert merged.json()["values"] == {"k": {"x": 1, "y": 2}}
    await until_it_expired(client)


async def test_a_merge_into_an_expired_key_makes_a_new_one_for_good(client: AsyncClient) -> None:
    await set_short(client, b'{"x":1}')
    await until_it_expired(client)
    body = {"merge": {"k": {"y": 2}}, "get": ["k"]}
    assert (await client.post(STATE, json=body)).json()["values"] == {"k": {"y": 2}}
    await client.put(f"{STATE}/probe", content=b"1", params=SHORT)

    async def probe() -> Response:
        return await client.get(f"{STATE}/probe")

    await eventually(probe, lambda response: response.status_code == 404)
    assert (await client.get(URL)).json() == {"y": 2}


async def test_a_key_that_was_deleted_and_set_again_does_not_expire(client: AsyncClient) -> None:
    await set_short(client)
    await client.delete(URL)
    await client.put(URL, content=b"2")
    await client.put(f"{STATE}/probe", content=b"1", params=SHORT)

    async def probe() -> Response:
        return await client.get(f"{STATE}/probe")

    await eventually(probe, lambda response: response.status_code == 404)
    assert (await client.get(URL)).content == b"2"


async def test_to_expire_is_to_be_absent_for_conditions_and_counts(client: AsyncClient) -> None:
    etag = (await set_short(client)).headers["ETag"]
    assert_problem(await client.put(URL, headers={"If-None-Match": "*"}), 412)
    await until_it_expired(client)

    refused = [
        await client.put(URL, headers={"If-Match": etag}),
        await client.delete(URL, headers={"If-Match": "*"}),
    ]
    for response in refused:
        assert assert_problem(response, 412)["etag"] is None
    again = await client.put(URL, content=b"2", headers={"If-None-Match": "*"})
    assert again.status_code == 201
    assert again.headers["ETag"] != etag


async def test_what_has_expired_is_not_deleted_once_more(client: AsyncClient) -> None:
    await set_short(client)
    await client.put(f"{STATE}/kk", content=b"1", params=SHORT)
    await until_it_expired(client)
    etag = (await client.get(SESSION)).headers["ETag"]

    deleted = await client.post(STATE, json={"set": {"k": None}})
    assert (deleted.json()["deleted"], deleted.headers["ETag"]) == (0, etag)
    by_prefix = await client.delete(STATE, params={"prefix": "k"})
    assert (by_prefix.json(), by_prefix.headers["ETag"]) == ({"deleted": 0}, etag)


async def test_its_session_lives_on_and_keeps_its_revision(client: AsyncClient) -> None:
    written = await set_short(client)
    before = (await client.get(SESSION)).json()
    await until_it_expired(client)

    after = (await client.get(SESSION)).json()
    assert after == before | {"state_key_count": 0}
    assert written.headers["Session-Expires"] == after["expires_at"]


async def test_a_key_does_not_outlive_its_session(client: AsyncClient) -> None:
    await client.post(STATE, json={"set": {"k": 1}, "key_ttl": 60, "ttl": 0.03})
    await until_it_expired(client)
    assert_problem(await client.get(SESSION), 404)
    await client.put(SESSION)

    assert (await client.get(f"{SESSION}?include=state")).json()["state"] == {}


@pytest.mark.parametrize("text", [*NO_SECONDS, "null", '"1"', "true", "[]"])
async def test_a_key_ttl_in_a_body_that_cannot_be_is_400(api: AsyncClient, text: str) -> None:
    body = f'{{"set":{{"k":1}},"key_ttl":{text}}}'
    response = await api.post(STATE, content=body)

    assert_problem(response, 400, at="" if text == "0x1" else "/key_ttl")
    assert_problem(await api.get(SESSION), 404)


@pytest.mark.parametrize(
    "text", [*NO_SECONDS, "", "null", '"1"', "%D9%A3", "1,5", "Infinity", "nan", "+1", "%201"]
)
async def test_a_key_ttl_in_a_query_that_cannot_be_is_400(api: AsyncClient, text: str) -> None:
    assert_problem(await api.put(f"{URL}?key_ttl={text}"), 400, at="/query/key_ttl")
    assert_problem(await api.get(SESSION), 404)


@pytest.mark.parametrize("text", ["0.001", "1", "1.5", "6e1", "315360000"])
async def test_a_key_ttl_is_seconds_in_steps_of_a_millisecond(api: AsyncClient, text: str) -> None:
    assert (await api.put(f"{URL}?key_ttl={text}", content=b"1")).status_code == 201
    batch = await api.post(STATE, content=f'{{"set":{{"j":1}},"key_ttl":{text}}}')
    assert batch.status_code == 200


@pytest.mark.parametrize("body", ['{"key_ttl":1}', '{"get":["k"],"key_ttl":1}',
                                  '{"merge":{"k":{}},"key_ttl":1}'])  # fmt: skip
async def test_a_key_ttl_without_anything_to_set_is_400(api: AsyncClient, body: str) -> None:
    await api.put(URL, content=b"1")
    before = await everything(api)

    assert_problem(await api.post(STATE, content=body), 400, at="/key_ttl")
    assert await everything(api) == before


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_only_a_set_takes_one(api: AsyncClient, method: str) -> None:
    assert_problem(await api.request(method, f"{URL}?key_ttl=1"), 400, at="/query/key_ttl")
