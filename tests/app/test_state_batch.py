"""The state batch: set and delete, then get, in one step."""

import asyncio
from base64 import b64encode

import pytest
from httpx import AsyncClient

from tests.conftest import Serve
from tests.problems import assert_problem

SESSION = "/v1/sessions/a"
URL = f"{SESSION}/state"


async def test_a_batch_sets_deletes_and_then_gets(client: AsyncClient) -> None:
    await client.post(URL, json={"set": {"old": 1, "kept": 2}})
    body = b'{"set":{"old":null,"new":1.0,"gone":null},"get":["new","old","kept","none","new"]}'
    answer = await client.post(URL, content=body)

    assert answer.status_code == 200
    assert answer.headers["Durability"] == "redis+replay"
    assert b'"values":{"new":1.0,"old":null,"kept":2,"none":null}' in answer.content
    assert answer.json()["deleted"] == 1
    assert answer.json()["etag"] == answer.headers["ETag"]


async def test_a_batch_that_only_gets_creates_nothing(client: AsyncClient) -> None:
    answer = await client.post(URL, json={"get": ["k"]})

    assert answer.json() == {"values": {"k": None}, "deleted": 0, "etag": None}
    assert "Durability" not in answer.headers
    assert_problem(await client.get(SESSION), 404)


async def test_a_batch_that_only_deletes_creates_nothing(client: AsyncClient) -> None:
    answer = await client.post(URL, json={"set": {"k": None}, "get": ["k"]})

    assert answer.json() == {"values": {"k": None}, "deleted": 0, "etag": None}
    assert_problem(await client.get(SESSION), 404)


async def test_a_batch_that_changes_nothing_keeps_the_revision(client: AsyncClient) -> None:
    etag = (await client.put(SESSION)).headers["ETag"]

    for body in ("{}", '{"get":["k"]}', '{"set":{}}', '{"set":{"k":null}}'):
        answer = await client.post(URL, content=body)
        assert (answer.status_code, answer.headers["ETag"]) == (200, etag)
    assert (await client.post(URL, json={"ttl": 5})).headers["ETag"] != etag


async def test_a_ttl_in_a_batch_sets_the_expiry(client: AsyncClient) -> None:
    answer = await client.post(URL, json={"set": {"k": 1}, "ttl": 5})

    assert answer.headers["Session-TTL"] == "5"
    assert (await client.get(SESSION)).json()["ttl"] == 5


async def test_raw_bytes_travel_in_base64(client: AsyncClient) -> None:
    data = bytes(range(256))
    raw = {"$raw": b64encode(data).decode(), "type": "image/png"}
    answer = await client.post(URL, json={"set": {"k": raw}, "get": ["k"]})
    read = await client.get(f"{URL}/k")

    assert answer.json()["values"] == {"k": raw}
    assert (read.content, read.headers["Content-Type"]) == (data, "image/png")
    assert (await client.post(URL, json={"get": ["k"]})).json()["values"] == {"k": raw}


@pytest.mark.parametrize(
    "raw",
    [
        '{"$raw":"AA=="}', '{"$raw":"A","type":"a/b"}', '{"$raw":"A_==","type":"a/b"}',
        '{"$raw":1,"type":"a/b"}', '{"$raw":"","type":1}', '{"$raw":"","type":"a/b","x":1}',
        '{"$raw":"","$raw":"","type":"a/b"}', '{"$raw":"\\u00e9","type":"a/b"}',
    ],
)  # fmt: skip
async def test_a_raw_value_that_cannot_be_read_is_refused(api: AsyncClient, raw: str) -> None:
    assert_problem(await api.post(URL, content=f'{{"set":{{"k":{raw}}}}}'), 400, at="/set/k")


@pytest.mark.parametrize(
    "media_type",
    ["", "a/b\r\nSet-Cookie: x=1", "a/b\n", "a\tb", " a/b", "a/b ", "\u0141", "x" * 256],
)
async def test_a_content_type_cannot_smuggle_a_header(api: AsyncClient, media_type: str) -> None:
    body = {"set": {"k": {"$raw": "", "type": media_type}}}

    assert_problem(await api.post(URL, json=body), 400, at="/set/k/type")
    assert_problem(await api.get(SESSION), 404)


async def test_dots_are_keys_in_a_body(client: AsyncClient) -> None:
    answer = await client.post(URL, json={"set": {".": 1, "..": 2}, "get": [".", ".."]})

    assert answer.json()["values"] == {".": 1, "..": 2}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"set":{"a":1,"a":2}}', "/set"),
        ('{"set":{"a":1,"\\u0061":2}}', "/set"),
        ('{"set":{":":1,"\\u003a":2}}', "/set"),
        ('{"set":{"a":1},"set":{"b":2}}', ""),
        ('{"set":{},"unknown":1}', "/unknown"),
        ('{"set":{},"a/b~c":1}', "/a~1b~0c"),
        ('{"set":{"":1}}', "/set/"),
        ('{"set":{"a\\nb":1}}', "/set/a\nb"),
        ('{"set":{"a/b":NaN}}', ""),
        ('{"set":[]}', "/set"),
        ('{"set":null}', "/set"),
        ('{"get":"k"}', "/get"),
        ('{"get":[1]}', "/get"),
        ('{"get":["k",""]}', "/get/1"),
        ('{"get":["\\u007f"]}', "/get/0"),
        ('{"ttl":0}', "/ttl"),
        ("[]", ""),
        ("", ""),
    ],
)
async def test_a_malformed_batch_is_refused_at_its_place(
    api: AsyncClient, body: str, pointer: str
) -> None:
    assert_problem(await api.post(URL, content=body), 400, at=pointer)
    assert_problem(await api.get(SESSION), 404)


async def test_keys_of_512_bytes_pass_and_longer_ones_do_not(api: AsyncClient) -> None:
    longest, longer = "\u00e9" * 256, "\u00e9" * 256 + "x"
    answer = await api.post(URL, json={"set": {longest: 1}, "get": [longest]})

    assert answer.json()["values"] == {longest: 1}
    assert_problem(await api.post(URL, json={"set": {longer: 1}}), 400, at=f"/set/{longer}")


async def test_a_value_is_counted_deep_for_itself(api: AsyncClient) -> None:
    for depth, status in ((128, 200), (129, 400)):
        value = "[" * depth + "]" * depth
        answer = await api.post(URL, content=f'{{"set":{{"k":{value}}}}}')
        assert answer.status_code == status


async def test_a_batch_that_would_answer_too_much_is_413_before_it_writes(start: Serve) -> None:
    async with start(
        MAX_ANSWER_BYTES="1024", MAX_VALUE_BYTES="500", MAX_MESSAGE_BYTES="500"
    ) as api:
        names = [str(number) for number in range(6)]
        for name in names:
            await api.post(URL, json={"set": {name: "x" * 400}})
        etag = (await api.get(SESSION)).headers["ETag"]

        problem = assert_problem(await api.post(URL, json={"get": names, "set": {"new": 1}}), 413)
        assert problem["limit"] == 1_024
        cold = {"Cache-Control": "no-cache"}
        assert_problem(await api.post(URL, json={"get": names}, headers=cold), 413)
        assert (await api.get(SESSION)).headers["ETag"] == etag


async def test_a_million_unknown_members_are_not_all_told(api: AsyncClient) -> None:
    body = "{" + ",".join(f'"{number}":1' for number in range(100_000)) + "}"
    answer = await api.post(URL, content=body)

    assert_problem(answer, 400, at="/0")
    assert len(answer.content) < 10_000


@pytest.mark.parametrize("body", ["{}", '{"set":{}}', '{"get":[]}'])
async def test_a_batch_that_names_nothing_renews_as_an_empty_patch_does(
    api: AsyncClient, body: str
) -> None:
    before = await api.put(SESSION, json={"ttl": 60})
    await asyncio.sleep(0.01)
    renewed = await api.post(URL, content=body)

    assert renewed.json() == {"values": {}, "deleted": 0, "etag": before.json()["etag"]}
    assert renewed.headers["Session-Expires"] > before.headers["Session-Expires"]


async def test_a_patch_that_names_a_member_twice_is_pointed_at(client: AsyncClient) -> None:
    for value in ('{"x":{"q":1}}', '{"x":{}}'):
        await client.post(URL, content=f'{{"set":{{"a/b":{value}}}}}')
        answer = await client.post(URL, content='{"merge":{"a/b":{"x":{"q":1,"q":2}}}}')
        assert_problem(answer, 400, at="/merge/a~1b/x")


async def test_a_value_that_cannot_be_merged_into_is_pointed_at(client: AsyncClient) -> None:
    await client.put(f"{URL}/raw", content=b"\x00")
    await client.post(URL, content='{"set":{"twice":{"q":1,"q":2}}}')

    for key in ("raw", "twice"):
        answer = await client.post(URL, json={"merge": {key: {"q": 3}}})
        assert_problem(answer, 422, "not_mergeable", at=f"/merge/{key}")
