"""One value of a session's state: JSON or bytes, returned as they were sent."""

import pytest
from httpx import AsyncClient

from tests.problems import assert_problem

SESSION = "/v1/sessions/a"
URL = f"{SESSION}/state/k"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "text",
    [
        b"1.0", b"1e999", b"-0", b"123456789012345678901234567890", b'{"a":1,"a":2}', b" [ 1 ]\n",
        b'"\\u0041\\/\\ud83d\\ude00"', b'"\xc3\xa9"', b"false", b'""', b"{}", b'{"$raw":1}',
    ],
)  # fmt: skip
async def test_json_comes_back_byte_for_byte(client: AsyncClient, text: bytes) -> None:
    created = await client.put(URL, content=text, headers=JSON)
    read = await client.get(URL)

    assert created.status_code == 201
    assert (read.status_code, read.content) == (200, text)
    assert read.headers["Content-Type"] == "application/json"
    assert read.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain", "image/png", "application/vnd.x+json; v=2", 'Text/HTML;q="a, b"', "x" * 255,
        "application/json ; charset=UTF-8",
    ],
)  # fmt: skip
async def test_a_content_type_comes_back_exactly(client: AsyncClient, media_type: str) -> None:
    await client.put(URL, content=b'{"a": 1}', headers={"Content-Type": media_type})
    read = await client.get(URL)

    assert read.content == b'{"a": 1}'
    assert read.headers["Content-Type"] == media_type


async def test_bytes_without_a_content_type_are_an_octet_stream(client: AsyncClient) -> None:
    data = bytes(range(256))
    await client.put(URL, content=data)
    read = await client.get(URL)

    assert (read.content, read.headers["Content-Type"]) == (data, "application/octet-stream")


async def test_an_empty_value_is_a_value(client: AsyncClient) -> None:
    assert (await client.put(URL)).status_code == 201
    read = await client.get(URL)

    assert (read.status_code, read.content) == (200, b"")


async def test_setting_creates_then_replaces(client: AsyncClient) -> None:
    first = await client.put(URL, content=b"1", headers=JSON)
    second = await client.put(URL, content=b"1", headers=JSON)

    assert (first.status_code, second.status_code) == (201, 204)
    assert second.content == b""
    assert first.headers["ETag"] != second.headers["ETag"]
    assert (await client.get(URL)).headers["ETag"] == second.headers["ETag"]


async def test_a_value_keeps_its_etag_while_others_change(client: AsyncClient) -> None:
    etag = (await client.put(URL, content=b"1")).headers["ETag"]
    await client.put(f"{SESSION}/state/other", content=b"2")
    await client.post(f"{SESSION}/messages", json={"messages": [{}]})

    read = await client.get(URL)
    assert read.headers["ETag"] == etag != (await client.get(SESSION)).headers["ETag"]


async def test_a_deleted_value_is_gone_and_the_session_stays(client: AsyncClient) -> None:
    await client.put(URL, content=b"1")

    for _ in range(2):
        deleted = await client.delete(URL)
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert deleted.headers["Session-TTL"] == "2592000"
        assert deleted.headers["Durability"] == "redis+replay"
    assert_problem(await client.get(URL), 404, "key_not_found")
    assert (await client.get(SESSION)).json()["state_key_count"] == 0


async def test_deleting_what_is_not_there_changes_and_creates_nothing(client: AsyncClient) -> None:
    assert (await client.delete(URL)).status_code == 204
    assert_problem(await client.get(SESSION), 404)
    assert_problem(await client.get(URL), 404, "session_not_found")

    created = await client.put(SESSION)
    assert (await client.delete(URL)).status_code == 204
    assert (await client.get(SESSION)).headers["ETag"] == created.headers["ETag"]


@pytest.mark.parametrize(
    "text",
    [
        b"null", b" null\n", b"", b"{", b"[1,]", b"NaN", b"Infinity", b"\xef\xbb\xbf1", b'"\xff"',
        b'"\\ud800"', b'"\\udc00"', b'"\x01"', b"1 2", b"01", b"'a'", b'{"a":"\xed\xa0\x80"}',
        b"[" * 129 + b"]" * 129, b"[" * 100_000,
    ],
)  # fmt: skip
async def test_what_is_not_json_is_refused_and_changes_nothing(
    api: AsyncClient, text: bytes
) -> None:
    assert_problem(await api.put(URL, content=text, headers=JSON), 400, at="")
    assert_problem(await api.get(SESSION), 404)


async def test_json_may_be_nested_128_deep(client: AsyncClient) -> None:
    text = b"[" * 128 + b'"[[[["' + b"]" * 128

    assert (await client.put(URL, content=text, headers=JSON)).status_code == 201
    assert (await client.get(URL)).content == text


@pytest.mark.parametrize("media_type", ["x" * 256, "text/\xe9"])
async def test_a_content_type_that_cannot_be_kept_is_refused(
    api: AsyncClient, media_type: str
) -> None:
    headers = {b"Content-Type": media_type.encode("latin-1")}
    assert_problem(await api.put(URL, headers=headers), 400, at="/headers/content-type")
