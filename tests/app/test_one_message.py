"""One message by its seq: read, checked for news, deleted."""

import pytest
from httpx import AsyncClient

from tests.app.calls import COLD, SESSION, everything
from tests.problems import assert_problem

URL = f"{SESSION}/messages"
TEXTS = ['{"n":1.0}', '{ "n" : 2,"n":3 }', '{"n":"\\u0041"}']


async def make(client: AsyncClient) -> str:
    response = await client.post(URL, content=f'{{"messages":[{",".join(TEXTS)}]}}')
    assert response.status_code == 201
    etag: str = response.headers["ETag"]
    return etag


async def test_it_is_told_as_the_list_tells_it(client: AsyncClient) -> None:
    etag = await make(client)
    listed = (await client.get(URL)).json()["messages"]

    for headers in ({}, COLD):
        for seq, text in enumerate(TEXTS, 1):
            read = await client.get(f"{URL}/{seq}", headers=headers)
            assert read.status_code == 200
            assert read.json() == listed[seq - 1]
            assert f'"message":{text}}}' in read.text
            assert read.headers["ETag"] == etag
            assert read.headers["Content-Type"] == "application/json"


async def test_head_says_the_same_without_the_body(wire: AsyncClient) -> None:
    await make(wire)

    for seq in (2, 9):
        got, headed = await wire.get(f"{URL}/{seq}"), await wire.head(f"{URL}/{seq}")
        assert (headed.status_code, headed.content) == (got.status_code, b"")
        assert headed.headers["Content-Length"] == got.headers["Content-Length"]
        assert headed.headers.get("ETag") == got.headers.get("ETag")


async def test_a_message_that_is_not_there_is_404_and_says_what_is_missing(
    client: AsyncClient,
) -> None:
    assert_problem(await client.get(f"{URL}/1"), 404, "session_not_found")
    await client.put(SESSION)
    assert_problem(await client.get(f"{URL}/1"), 404, "message_not_found")
    await make(client)
    await client.delete(URL, params={"before": "2"})

    for headers in ({}, COLD):
        for seq in (1, 4, 2**48 - 1):
            missing = await client.get(f"{URL}/{seq}", headers=headers)
            assert_problem(missing, 404, "message_not_found")
        assert (await client.get(f"{URL}/2", headers=headers)).status_code == 200


async def test_a_deleted_one_leaves_a_hole(client: AsyncClient) -> None:
    etag = await make(client)
    first, second = await client.delete(f"{URL}/2"), await client.delete(f"{URL}/2")

    assert [(each.status_code, each.content) for each in (first, second)] == [(204, b"")] * 2
    assert first.headers["ETag"] == second.headers["ETag"] != etag
    for headers in ({}, COLD):
        page = (await client.get(URL, headers=headers)).json()
        assert [message["seq"] for message in page["messages"]] == [1, 3]
        assert (page["first_seq"], page["last_seq"], page["total"]) == (1, 3, 2)
        assert_problem(await client.get(f"{URL}/2", headers=headers), 404, "message_not_found")
        window = await client.get(URL, params={"after": "1", "limit": "1"}, headers=headers)
        assert [message["seq"] for message in window.json()["messages"]] == [3]
    assert (await client.post(URL, json={"messages": [{}]})).json()["first_seq"] == 4


@pytest.mark.parametrize("seq", [1, 2, 3])
async def test_any_of_them_may_be_deleted(client: AsyncClient, seq: int) -> None:
    await make(client)
    await client.get(URL)
    await client.delete(f"{URL}/{seq}")

    left = [number for number in (1, 2, 3) if number != seq]
    for headers in ({}, COLD):
        page = (await client.get(URL, headers=headers)).json()
        assert [message["seq"] for message in page["messages"]] == left
        assert (page["first_seq"], page["last_seq"]) == (left[0], left[-1])


async def test_deleting_one_of_no_session_makes_none(client: AsyncClient) -> None:
    answer = await client.delete(f"{URL}/1")

    assert answer.status_code == 204
    assert "ETag" not in answer.headers
    assert_problem(await client.get(SESSION), 404)


@pytest.mark.parametrize(
    "segment",
    [
        "0", "-1", "+1", "1.0", "1e3", "x", "", "%20", "1%20", "%D9%A3", "%C2%B2", "0x1",
        "281474976710656", "9" * 15, "9" * 16, "9" * 5_000, "%ff", "%2E", "1%2F2", "%00", "%zz",
    ],
)  # fmt: skip
async def test_a_seq_that_cannot_be_is_400(api: AsyncClient, segment: str) -> None:
    await make(api)
    before = await everything(api)

    for method in ("GET", "HEAD", "DELETE"):
        response = await api.request(method, f"{URL}/{segment}")
        if method != "HEAD":
            assert_problem(response, 400, at="/path/seq")
        assert response.status_code == 400
    assert await everything(api) == before


@pytest.mark.parametrize("segment", ["2", "%32", "02", "000000000000002"])
async def test_a_seq_is_a_whole_number(api: AsyncClient, segment: str) -> None:
    await make(api)

    assert (await api.get(f"{URL}/{segment}")).json()["seq"] == 2
