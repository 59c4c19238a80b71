"""Merging into state values over HTTP (RFC 7396): what is untouched keeps its exact text."""

import asyncio
import json

import pytest
from httpx import AsyncClient, Response

from tests.app.calls import COLD, SESSION, everything
from tests.conftest import Serve
from tests.problems import assert_problem

STATE = f"{SESSION}/state"
URL = f"{STATE}/k"
JSON = {"Content-Type": "application/json"}

APPENDIX_A = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
    ('"foo"', '{"a":1}', '{"a":1}'),
]
"""Those whose patch is an object; a target that is none is replaced."""


async def merge(client: AsyncClient, patch: str, key: str = "k") -> Response:
    return await client.post(STATE, content=f'{{"merge":{{{json.dumps(key)}:{patch}}}}}'.encode())


@pytest.mark.parametrize("is_held", [True, False])
@pytest.mark.parametrize(("target", "patch", "result"), APPENDIX_A)
async def test_it_does_what_the_rfc_says(
    client: AsyncClient, target: str, patch: str, result: str, *, is_held: bool
) -> None:
    await client.put(URL, content=target, headers=JSON)
    if is_held:
        await client.get(URL)

    assert (await merge(client, patch)).status_code == 200
    for headers in ({}, COLD):
        assert (await client.get(URL, headers=headers)).text == result


async def test_what_is_untouched_keeps_its_exact_text(client: AsyncClient) -> None:
    target = (
        '{ "f":1.0 , "big":123456789012345678901, "inf":1e999,\n'
        '"\\u0061\\/":"\\u0041\\ud83d\\ude00",'
        '"twice":{"x":1,"x":2},"o":{"y" : [ 1.50 ],"z":-0}}'
    )
    await client.put(URL, content=target, headers=JSON)
    await merge(client, '{"o":{"z":null,"new":1E2},"f2":0.10}')
    text = (await client.get(URL)).text

    for kept in (
        '"f":1.0', '"big":123456789012345678901', '"inf":1e999',
        '"\\u0061\\/":"\\u0041\\ud83d\\ude00"',
        '"twice":{"x":1,"x":2}', '"y":[ 1.50 ]', '"new":1E2', '"f2":0.10',
    ):  # fmt: skip
        assert kept in text
    assert '"z"' not in text


async def test_an_empty_patch_is_a_change_that_keeps_the_text(client: AsyncClient) -> None:
    etag = (await client.put(URL, content=b' {"a": 1.0 }\n', headers=JSON)).headers["ETag"]
    merged = await merge(client, "{}")

    read = await client.get(URL)
    assert read.content == b' {"a": 1.0 }\n'
    assert read.headers["ETag"] != etag
    assert merged.headers["ETag"] == (await client.get(SESSION)).headers["ETag"]


async def test_what_is_absent_is_made_and_so_is_its_session(client: AsyncClient) -> None:
    first = await merge(client, '{"a":{"b":1.0,"c":null},"d":null}')

    assert first.status_code == 200
    assert (await client.get(URL)).content == b'{"a":{"b":1.0}}'
    assert (await client.get(URL)).headers["Content-Type"] == "application/json"
    assert (await client.get(SESSION)).json()["state_key_count"] == 1
    await client.delete(URL)
    await merge(client, '{"e":1}')
    assert (await client.get(URL)).content == b'{"e":1}'


async def test_sets_and_merges_are_done_before_gets(client: AsyncClient) -> None:
    await client.post(STATE, json={"set": {"m": {"x": 1}, "old": 1}})
    body = (
        b'{"get":["m","s","old","n"],"merge":{"m":{"y":2.0},"n":{"z":1}},'
        b'"set":{"s":1,"old":null},"ttl":60}'
    )
    answer = await client.post(STATE, content=body)

    expected = b'{"values":{"m":{"x":1,"y":2.0},"s":1,"old":null,"n":{"z":1}},"deleted":1,'
    assert answer.content.startswith(expected)
    assert answer.headers["Session-TTL"] == "60"
    for headers in ({}, COLD):
        whole = await client.get(f"{SESSION}?include=state", headers=headers)
        assert whole.json()["state"] == {"m": {"x": 1, "y": 2.0}, "s": 1, "n": {"z": 1}}


async def test_a_content_type_is_kept(client: AsyncClient) -> None:
    media_type = "application/vnd.x+json; v=2"
    await client.put(URL, content=b'{"a":1}', headers={"Content-Type": media_type})
    await merge(client, '{"b":2}')

    read = await client.get(URL)
    assert (read.content, read.headers["Content-Type"]) == (b'{"a":1,"b":2}', media_type)


@pytest.mark.parametrize("is_held", [True, False])
@pytest.mark.parametrize(
    ("target", "media_type", "patch"),
    [
        (b'{"a":1}', "application/octet-stream", '{"a":2}'),
        (b"", "text/plain", "{}"),
        (b'{"a":1,"a":2}', "application/json", '{"b":1}'),
        (b'{"a":1,"\\u0061":2}', "application/json", '{"a":1}'),
        (b'{"o":{"a":1,"a":2}}', "application/json", '{"o":{"b":1}}'),
    ],
)
async def test_what_cannot_be_kept_is_422_and_changes_nothing(
    client: AsyncClient, target: bytes, media_type: str, patch: str, *, is_held: bool
) -> None:
    key = "a/b~c"
    url = f"{STATE}/a%2Fb~c"
    await client.put(url, content=target, headers={"Content-Type": media_type})
    if is_held:
        await client.get(url)
    before = await everything(client)

    refused = await merge(client, patch, key)
    assert_problem(refused, 422, "not_mergeable", at="/merge/a~1b~0c")
    assert await everything(client) == before


async def test_one_that_cannot_be_merged_stops_the_whole_call(client: AsyncClient) -> None:
    await client.put(f"{STATE}/raw", content=b"\x00")
    before = await everything(client)
    body = {"set": {"s": 1}, "merge": {"k": {"x": 1}, "raw": {"x": 1}}}

    refused = await client.post(STATE, json=body)
    assert_problem(refused, 422, "not_mergeable", at="/merge/raw")
    assert await everything(client) == before


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"merge":{"k":1}}', "/merge/k"),
        ('{"merge":{"k":null}}', "/merge/k"),
        ('{"merge":{"a/b":[]}}', "/merge/a~1b"),
        ('{"merge":{"k":"{}"}}', "/merge/k"),
        ('{"merge":[]}', "/merge"),
        ('{"merge":null}', "/merge"),
        ('{"merge":{"":{}}}', "/merge/"),
        ('{"merge":{"k":{},"k":{}}}', "/merge"),
        ('{"merge":{"k":{}},"merge":{}}', ""),
        ('{"merge":{"k":{"a":1,"a":2}}}', "/merge/k"),
        ('{"merge":{"k":{"b":{"a":1,"a":2}}}}', "/merge/k/b"),
        ('{"merge":{"k":{"a":1,"\\u0061":2}}}', "/merge/k"),
        ('{"merge":{"k":{"a":NaN}}}', ""),
        ('{"merge":{"k":{"a":"\\ud800"}}}', ""),
        ('{"merge":{"k":{}},"set":{"k":1}}', "/merge/k"),
        ('{"merge":{"k":{}},"set":{"k":null}}', "/merge/k"),
        ('{"merge":{"k":{}},"set":{"\\u006b":1}}', "/merge/k"),
        ('{"merge":{"k":{"a":' + "[" * 128 + "]" * 128 + "}}}", "/merge/k"),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
async def test_a_malformed_merge_is_refused_at_its_place(
    api: AsyncClient, body: str, pointer: str, *, exists: bool
) -> None:
    if exists:
        await api.put(URL, content=b'{"a":1,"b":{"a":1}}', headers=JSON)
    assert_problem(await api.post(STATE, content=body), 400, at=pointer)

    if exists:
        assert (await api.get(URL, headers=COLD)).content == b'{"a":1,"b":{"a":1}}'
    else:
        assert_problem(await api.get(SESSION), 404)


async def test_what_a_merge_comes_to_has_the_limit_of_a_value(start: Serve) -> None:
    async with start(MAX_VALUE_BYTES="256") as api:
        await api.put(URL, content=b'{"a":"' + b"x" * 200 + b'"}', headers=JSON)
        before = await everything(api)

        problem = assert_problem(await merge(api, '{"b":"' + "y" * 100 + '"}'), 413, at="/merge/k")
        assert problem["limit"] == 256
        assert await everything(api) == before
        assert (await merge(api, '{"a":"' + "y" * 240 + '"}')).status_code == 200
        too_long = await merge(api, '{"a":"' + "y" * 256 + '"}')
        assert assert_problem(too_long, 413, at="/merge/k")["limit"] == 256


async def test_what_a_merge_comes_to_has_the_depth_of_a_value(api: AsyncClient) -> None:
    patch = '{"a":' * 128 + "{}" + "}" * 128
    assert_problem(await merge(api, patch), 400, at="/merge/k")
    patch = '{"a":' * 127 + "{}" + "}" * 127

    assert (await merge(api, patch)).status_code == 200
    assert (await api.get(URL)).text == patch


async def test_keys_of_all_kinds_count_together(start: Serve) -> None:
    async with start(MAX_KEYS_PER_CALL="3") as api:
        body = {"set": {"a": 1}, "merge": {"b": {}}, "get": ["a", "c"]}
        assert assert_problem(await api.post(STATE, json=body), 413)["limit"] == 3
        four = await api.post(STATE, content=b'{"merge":{"1":{},"2":{},"3":{},"4":{}}}')
        assert assert_problem(four, 413, at="/merge")["limit"] == 3
        assert_problem(await api.get(SESSION), 404)


async def test_merges_at_the_same_time_lose_nothing(client: AsyncClient) -> None:
    answers = await asyncio.gather(*[merge(client, f'{{"m{n}":{n}}}') for n in range(40)])

    assert {answer.status_code for answer in answers} == {200}
    assert (await client.get(URL)).json() == {f"m{n}": n for n in range(40)}


async def test_two_processes_merge_into_one_value_and_lose_nothing(serve: Serve) -> None:
    async with serve() as one, serve() as two:
        for number in range(8):
            await merge(one, f'{{"one{number}":{number}}}')
            await merge(two, f'{{"two{number}":{number}}}')
        await asyncio.gather(*[merge(each, f'{{"{name}":1}}') for each, name in
                               ((one, "a"), (two, "b"), (one, "c"), (two, "d"))])  # fmt: skip

        expected = 2 * 8 + 4
        for each in (one, two):
            assert len((await each.get(URL)).json()) == expected


async def test_another_process_may_have_made_it_raw_or_mergeable(serve: Serve) -> None:
    async with serve() as one, serve() as two:
        await one.put(URL, content=b'{"a":1}', headers=JSON)
        await one.get(URL)
        await two.put(URL, content=b"\x00")
        assert_problem(await merge(one, '{"b":1}'), 422, "not_mergeable", at="/merge/k")
        await one.get(URL)
        await two.put(URL, content=b'{"c":1}', headers=JSON)

        assert (await merge(one, '{"b":1}')).status_code == 200
        assert (await one.get(URL)).content == b'{"c":1,"b":1}'
