"""Windows of messages by identity and by bytes, and pages that together are the whole."""

from typing import Any
from uuid import uuid4

import pytest
from httpx import AsyncClient, Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.app.calls import COLD, SESSION
from tests.problems import assert_problem

URL = f"{SESSION}/messages"
WAYS: tuple[dict[str, str], ...] = ({}, COLD)


async def append(client: AsyncClient, *texts: str) -> Response:
    body = f'{{"messages":[{",".join(texts)}],"dedupe":"id"}}'
    response = await client.post(URL, content=body.encode())
    assert response.is_success, response.text
    return response


async def found(client: AsyncClient, url: str = URL, **params: str) -> list[int]:
    """Return the seqs of a window, the same from memory and from Redis."""
    answers = [await client.get(url, params=params, headers=headers) for headers in WAYS]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    assert answers[0].content == answers[1].content
    return [message["seq"] for message in answers[0].json()["messages"]]


@pytest.mark.parametrize(
    ("identity", "seqs"),
    [
        ("a", [1]), ("7", [2]), ("-7", [3]), ("12345678901234567890", [4]), ("\u00e9", [5]),
        ("e\u0301", []), ("", [6]), ("A", []), ("7.0", []), ('"a"', []), ("null", []),
        ("true", []), ("a/b?c&d", [7]),
    ],
)  # fmt: skip
async def test_a_message_is_found_by_its_identity_as_text(
    client: AsyncClient, identity: str, seqs: list[int]
) -> None:
    identities = ['"\\u0061"', "7", "-7", "12345678901234567890", '"\u00e9"', '""', '"a/b?c&d"',
                  "7.0", "null", "true", '["a"]', '{"id":"a"}']  # fmt: skip
    await append(client, *[f'{{"id":{text}}}' for text in identities], '{"no":1}')

    assert await found(client, id=identity) == seqs
    page = (await client.get(URL, params={"id": identity})).json()
    assert (page["first_seq"], page["last_seq"], page["total"]) == (1, 13, 13)
    included = await client.get(SESSION, params={"include": "messages", "id": identity})
    assert [message["seq"] for message in included.json()["messages"]] == seqs


async def test_the_newest_of_equal_identities_is_found(client: AsyncClient) -> None:
    texts = ['{"id":1,"n":1}', '{"id":2}', '{"id":1,"n":2}']
    await client.put(URL, content=f'{{"messages":[{",".join(texts)}],"dedupe":"id"}}')

    assert await found(client, id="1") == [3]


async def test_what_is_no_longer_held_is_not_found(client: AsyncClient) -> None:
    await append(client, *[f'{{"id":{number}}}' for number in range(1, 7)])
    await client.delete(f"{URL}/3")
    await client.delete(f"{URL}?last=1")
    await client.delete(f"{URL}?before=2")
    await client.patch(SESSION, json={"max_messages": 2})

    assert [await found(client, id=str(number)) for number in range(1, 7)] == [
        [], [], [], [4], [5], [],
    ]  # fmt: skip


async def test_only_the_last_512_are_remembered(client: AsyncClient) -> None:
    for first in range(1, 600, 300):
        await append(client, *[f'{{"id":{number}}}' for number in range(first, first + 300)])

    assert await found(client, id="88") == []
    assert await found(client, id="89") == [89]
    assert await found(client, id="600") == [600]


async def test_without_a_dedupe_member_nothing_has_an_identity(client: AsyncClient) -> None:
    assert await found(client, id="1") == []
    await client.post(URL, json={"messages": [{"id": 1}]})

    assert await found(client, id="1") == []


@pytest.mark.parametrize(
    ("params", "seqs"),
    [
        ({"max_bytes": "0"}, []),
        ({"max_bytes": "9"}, []),
        ({"max_bytes": "10"}, [4]),
        ({"max_bytes": "39"}, [4]),
        ({"max_bytes": "40"}, [3, 4]),
        ({"max_bytes": "61"}, [2, 3, 4]),
        ({"max_bytes": "71"}, [1, 2, 3, 4]),
        ({"max_bytes": "281474976710655"}, [1, 2, 3, 4]),
        ({"max_bytes": "71", "last": "2"}, [3, 4]),
        ({"max_bytes": "10", "last": "2"}, [4]),
        ({"max_bytes": "31", "before": "3"}, [1, 2]),
        ({"max_bytes": "30", "before": "3"}, [2]),
        ({"max_bytes": "51", "after": "1", "limit": "2"}, [2, 3]),
        ({"max_bytes": "30", "after": "1", "limit": "2"}, [3]),
        ({"max_bytes": "40", "since": "0"}, [3, 4]),
        ({"max_bytes": "9", "id": "x"}, []),
    ],
)
async def test_the_newest_that_fit_are_answered(
    client: AsyncClient, params: dict[str, str], seqs: list[int]
) -> None:
    texts = ['{"n":1234}', '{"id":"\u00e9","t":"123"}', '{"longer":"12345678901234567"}',
             '{ "n":12 }']  # fmt: skip
    assert [len(text.encode()) for text in texts] == [10, 21, 30, 10]
    await append(client, *texts)

    assert await found(client, **params) == seqs
    included = await client.get(SESSION, params={"include": "messages", **params})
    assert [message["seq"] for message in included.json()["messages"]] == seqs


@pytest.mark.parametrize("value", ["", "-1", "1.5", "x", "281474976710656", "%D9%A3"])
async def test_a_number_of_bytes_that_cannot_be_is_400(api: AsyncClient, value: str) -> None:
    await api.put(SESSION)
    for path in (f"{URL}?", f"{SESSION}?include=messages&"):
        response = await api.get(f"{path}max_bytes={value}")
        assert_problem(response, 400, at="/query/max_bytes")


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("id=1&last=1", {"/query/id", "/query/last"}),
        ("id=1&after=1", {"/query/after", "/query/id"}),
        ("id=1&before=1", {"/query/before", "/query/id"}),
        ("id=1&since=1", {"/query/id", "/query/since"}),
        ("id=1&limit=1", {"/query/id", "/query/limit"}),
        ("id=1&id=1", {"/query/id"}),
        ("id=%ff", {"/query"}),
    ],
)
async def test_an_identity_stands_alone(api: AsyncClient, query: str, pointers: set[str]) -> None:
    problem = assert_problem(await api.get(f"{URL}?{query}"), 400)

    assert {fault["pointer"] for fault in problem["errors"]} == pointers


async def walk(
    client: AsyncClient, url: str, params: dict[str, str], *, forward: bool
) -> list[int]:
    """Follow `next` from the start, or `prev` from the end, and return all seqs in order."""
    turn, bound = ("next", "after") if forward else ("prev", "before")
    seen: list[int] = []
    for _ in range(200):
        answers = [await client.get(url, params=params, headers=headers) for headers in WAYS]
        assert answers[0].content == answers[1].content
        page: dict[str, Any] = answers[0].json()
        seqs = [message["seq"] for message in page["messages"]]
        seen = seen + seqs if forward else seqs + seen
        if page[turn] is None:
            return seen
        assert page[turn] == (seqs[-1] if forward else seqs[0])
        params = {**params, bound: str(page[turn])}
    raise AssertionError("the pages do not end")


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    sizes=st.lists(st.integers(0, 40), max_size=25),
    deleted=st.sets(st.integers(1, 25), max_size=8),
    limit=st.integers(1, 7),
    max_bytes=st.none() | st.integers(50, 150),
)
async def test_pages_visit_each_message_once_in_order(
    client: AsyncClient, sizes: list[int], deleted: set[int], limit: int, max_bytes: int | None
) -> None:
    url = f"/v1/sessions/{uuid4()}/messages"
    if sizes:
        await client.post(url, json={"messages": [{"x": "y" * size} for size in sizes]})
    for seq in deleted:
        await client.delete(f"{url}/{seq}")
    there = [seq for seq in range(1, len(sizes) + 1) if seq not in deleted]
    params = {"limit": str(limit)}

    assert await walk(client, url, params | {"after": "0"}, forward=True) == there
    if max_bytes is not None:  # the newest that fit: a way back, not a way on
        params["max_bytes"] = str(max_bytes)
    assert await walk(client, url, params, forward=False) == there
