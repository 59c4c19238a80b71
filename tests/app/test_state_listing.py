"""The listing of a session's state: keys in the order of their bytes, in pages."""

import pytest
from httpx import AsyncClient

from tests.conftest import Serve
from tests.problems import assert_problem

URL = "/v1/sessions/a/state"
NAMES = ["*", "?", "A", "a", "a*", "a/b", "ab", "{}", "\u00e9", "\uffff", "\U0001f600"]


async def set_all(client: AsyncClient, names: list[str]) -> None:
    answer = await client.post(URL, json={"set": {name: name for name in reversed(names)}})
    assert answer.status_code == 200


async def test_keys_are_listed_in_the_order_of_their_bytes(client: AsyncClient) -> None:
    await set_all(client, NAMES)
    answer = await client.get(URL)

    assert answer.json() == {"keys": NAMES, "next": None}
    assert sorted(NAMES, key=str.encode) == NAMES


@pytest.mark.parametrize("values", ["true", "false"])
async def test_the_pages_together_are_the_whole(client: AsyncClient, values: str) -> None:
    await set_all(client, NAMES)
    seen: list[str] = []
    query = {"limit": "3", "values": values}
    while True:
        page = (await client.get(URL, params=query)).json()
        assert len(page["values" if values == "true" else "keys"]) <= 3
        seen += page["values" if values == "true" else "keys"]
        if page["next"] is None:
            break
        query["after"] = page["next"]

    assert seen == NAMES


@pytest.mark.parametrize(
    ("prefix", "keys"),
    [("a", ["a", "a*", "a/b", "ab"]), ("a*", ["a*"]), ("*", ["*"]), ("", NAMES), ("zz", [])],
)
async def test_a_prefix_is_taken_literally(
    client: AsyncClient, prefix: str, keys: list[str]
) -> None:
    await set_all(client, NAMES)

    assert (await client.get(URL, params={"prefix": prefix})).json()["keys"] == keys


async def test_values_come_as_they_were_sent(client: AsyncClient) -> None:
    await client.post(URL, content=b'{"set":{"j":{"a":1.0,"a":2}}}')
    await client.put(f"{URL}/r", content=b"\x00", headers={"Content-Type": "a/b"})
    answer = await client.get(URL, params={"values": "true"})

    assert answer.content == (
        b'{"values":{"j":{"a":1.0,"a":2},"r":{"$raw":"AA==","type":"a/b"}},"next":null}'
    )


async def test_of_no_session_there_is_nothing_to_list(client: AsyncClient) -> None:
    assert (await client.get(URL)).json() == {"keys": [], "next": None}
    assert (await client.get(f"{URL}?values=true")).json() == {"values": {}, "next": None}


async def test_a_page_has_100_keys_unless_a_limit_up_to_1000_is_given(api: AsyncClient) -> None:
    names = [f"{number:04}" for number in range(1_002)]
    await set_all(api, names)

    assert len((await api.get(URL)).json()["keys"]) == 100
    page = (await api.get(URL, params={"limit": "1000"})).json()
    assert (page["keys"], page["next"]) == (names[:1_000], "0999")
    assert_problem(await api.get(URL, params={"limit": "1001"}), 400, at="/query/limit")


async def test_a_page_ends_early_where_the_answer_would_be_too_large(start: Serve) -> None:
    async with start(
        MAX_ANSWER_BYTES="4096", MAX_VALUE_BYTES="1000", MAX_MESSAGE_BYTES="500"
    ) as api:
        names = [f"{number:02}" for number in range(20)]
        for name in names:
            await api.post(URL, json={"set": {name: "x" * 900}})
        seen: list[str] = []
        query = {"values": "true"}
        while "after" not in query or query["after"]:
            answer = await api.get(URL, params=query, headers={"Cache-Control": "no-cache"})
            assert len(answer.content) < 4_096 + 200
            page = answer.json()
            seen += page["values"]
            query["after"] = page["next"]

        assert seen == names


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/query/limit"),
        ("limit=-1", "/query/limit"),
        ("limit=%D9%A3", "/query/limit"),
        ("values=1", "/query/values"),
        ("values=", "/query/values"),
        ("cursor=x", "/query/cursor"),
        ("a~/b=x", "/query/a~0~1b"),
        ("prefix=a&prefix=a", "/query/prefix"),
        ("prefix=%ff", "/query"),
        ("after=%ED%A0%80", "/query"),
    ],
)
async def test_a_query_that_cannot_be_read_is_refused(
    api: AsyncClient, query: str, pointer: str
) -> None:
    assert_problem(await api.get(f"{URL}?{query}"), 400, at=pointer)
