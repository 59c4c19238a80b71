"""Messages over HTTP: appended in order, read in windows."""

from typing import Any

import pytest
from httpx import AsyncClient, Response

from tests.polling import eventually
from tests.problems import assert_problem

SESSION = "/v1/sessions/a"
URL = f"{SESSION}/messages"


async def append(client: AsyncClient, *texts: str, **members: str) -> Response:
    more = "".join(f',"{name}":{text}' for name, text in members.items())
    return await client.post(URL, content=f'{{"messages":[{",".join(texts)}]{more}}}'.encode())


async def append_numbered(client: AsyncClient, count: int) -> None:
    for first in range(0, count, 500):
        texts = [f'{{"n":{number + 1}}}' for number in range(first, min(first + 500, count))]
        assert (await append(client, *texts)).status_code == 201


def seqs(response: Response) -> list[int]:
    assert response.status_code == 200, response.text
    return [message["seq"] for message in response.json()["messages"]]


async def test_messages_are_numbered_from_1_without_gaps(client: AsyncClient) -> None:
    first = await append(client, "{}", "{}")
    second = await append(client, "{}")

    assert first.status_code == 201
    assert first.headers["Durability"] == "redis+replay"
    assert first.json() == {
        "first_seq": 1,
        "last_seq": 2,
        "count": 2,
        "duplicates": [],
        "etag": first.headers["ETag"],
    }
    assert (second.json()["first_seq"], second.json()["last_seq"]) == (3, 3)


async def test_a_message_comes_back_byte_for_byte(client: AsyncClient) -> None:
    texts = ['{"a":1.0,"a":1e999, "b" : [123456789012345678901]}', '{"\\u0061":"\\/\u00e9"}']
    await append(client, *texts)

    for headers in ({}, {"Cache-Control": "no-cache"}):
        content = (await client.get(URL, headers=headers)).text
        assert all(f'"message":{text}' in content for text in texts)


async def test_of_no_session_there_are_no_messages(client: AsyncClient) -> None:
    answer = await client.get(URL)

    assert answer.status_code == 200
    assert answer.json() == {
        "messages": [],
        "first_seq": None,
        "last_seq": None,
        "total": 0,
        "next": None,
        "prev": None,
    }


async def test_duplicates_are_skipped_and_told_as_sent(client: AsyncClient) -> None:
    await append(client, '{"id":"\\u0061"}', '{"id":7}', dedupe='"id"')
    answer = await append(
        client, '{"id":"a"}', '{"id":"7"}', '{"id":8}', '{"id": 8}', '{"no":1}', dedupe='"id"'
    )

    assert answer.status_code == 201
    assert answer.json()["duplicates"] == ["a", "7", 8]
    assert (answer.json()["first_seq"], answer.json()["count"]) == (3, 2)
    assert seqs(await client.get(URL)) == [1, 2, 3, 4]


async def test_only_duplicates_change_nothing_but_renew(client: AsyncClient) -> None:
    first = await append(client, '{"id":1}', dedupe='"id"')

    async def again() -> Response:
        return await append(client, '{"id":1}', dedupe='"id"')

    before = first.headers["Session-Expires"]
    answer = await eventually(again, lambda r: r.headers["Session-Expires"] > before)
    assert answer.status_code == 200
    assert answer.json() == {
        "first_seq": None,
        "last_seq": None,
        "count": 0,
        "duplicates": [1],
        "etag": first.headers["ETag"],
    }


@pytest.mark.parametrize("identity", ["1.0", "null", "true", "[1]", '{"a":1}', "1e3"])
async def test_what_is_neither_text_nor_an_integer_identifies_nothing(
    api: AsyncClient, identity: str
) -> None:
    for _ in range(2):
        answer = await append(api, f'{{"id":{identity}}}', dedupe='"id"')
        assert (answer.status_code, answer.json()["duplicates"]) == (201, [])


async def test_a_session_has_one_dedupe_member(client: AsyncClient) -> None:
    await append(client, '{"id":1}', dedupe='"id"')

    assert_problem(await append(client, '{"x":1}', dedupe='"x"'), 409, "dedupe_mismatch")
    assert (await append(client, '{"id":1}')).status_code == 201


async def test_the_oldest_are_trimmed_and_seq_goes_on(client: AsyncClient) -> None:
    await append(client, "{}", "{}", "{}", max_messages="2")
    await append(client, "{}")
    answer = await client.get(URL)

    assert seqs(answer) == [3, 4]
    page = answer.json()
    assert (page["first_seq"], page["last_seq"], page["total"]) == (3, 4, 2)


@pytest.mark.parametrize(
    ("query", "found", "prev", "has_next"),
    [
        ("", range(13, 63), 13, False),
        ("last=3", range(60, 63), 60, False),
        ("last=0", range(0), None, False),
        ("last=1000", range(3, 63), None, False),
        ("last=99999", range(3, 63), None, False),
        ("limit=2", range(61, 63), 61, False),
        ("after=0", range(3, 53), None, True),
        ("after=0&limit=5", range(3, 8), None, True),
        ("after=60", range(61, 63), 61, False),
        ("after=62", range(0), None, False),
        ("after=281474976710655", range(0), None, False),
        ("before=6", range(3, 6), None, True),
        ("before=10&limit=2", range(8, 10), 8, True),
        ("before=0", range(0), None, False),
        ("after=10&before=14", range(11, 14), 11, True),
        ("after=10&before=14&limit=2", range(11, 13), 11, True),
        ("after=20&before=10", range(0), None, False),
        ("since=0&limit=3", range(3, 6), None, True),
        ("since=1970-01-01T00:00:00Z&limit=1", range(3, 4), None, True),
        ("since=9999-12-31T23:59:59%2B00:00", range(0), None, False),
        ("since=2999-01-01T00:00:00+02:00", range(0), None, False),
    ],
)
async def test_a_window_is_what_was_asked_for(
    api: AsyncClient, query: str, found: range, prev: int | None, *, has_next: bool
) -> None:
    await api.put(SESSION, json={"max_messages": 60})
    await append_numbered(api, 62)
    for headers in ({}, {"Cache-Control": "no-cache"}):
        answer = await api.get(f"{URL}?{query}", headers=headers)
        page = answer.json()

        assert seqs(answer) == list(found)
        assert page["prev"] == prev
        assert page["next"] == (found[-1] if has_next else None)
        assert (page["first_seq"], page["last_seq"], page["total"]) == (3, 62, 60)


async def test_a_window_holds_1000_at_most(api: AsyncClient) -> None:
    await api.put(SESSION, json={"max_messages": 2_000})
    await append_numbered(api, 1_200)

    assert seqs(await api.get(f"{URL}?last=2000")) == list(range(201, 1_201))
    assert seqs(await api.get(f"{URL}?after=0&limit=2000")) == list(range(1, 1_001))


@pytest.mark.parametrize(
    ("query", "turn", "start"), [("after=0", "next", "after"), ("", "prev", "before")]
)
async def test_the_pages_together_are_the_whole(
    client: AsyncClient, query: str, turn: str, start: str
) -> None:
    await append_numbered(client, 23)
    seen: list[int] = []
    while True:
        answer = await client.get(f"{URL}?limit=5&{query}")
        page: dict[str, Any] = answer.json()
        seen = [*seen, *seqs(answer)] if turn == "next" else [*seqs(answer), *seen]
        if page[turn] is None:
            break
        query = f"{start}={page[turn]}"

    assert seen == list(range(1, 24))


async def test_since_is_inclusive(client: AsyncClient) -> None:
    await append(client, "{}")

    async def append_later() -> list[dict[str, Any]]:
        await append(client, "{}")
        messages: list[dict[str, Any]] = (await client.get(URL)).json()["messages"]
        return messages

    messages = await eventually(append_later, lambda found: found[0]["at"] < found[-1]["at"])
    moment = messages[-1]["at"]
    later = [message["seq"] for message in messages if message["at"] >= moment]
    assert seqs(await client.get(URL, params={"since": moment})) == later


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("last=1&after=1", {"/query/after", "/query/last"}),
        ("last=1&before=1", {"/query/before", "/query/last"}),
        ("last=1&since=1", {"/query/last", "/query/since"}),
        ("since=1&after=1", {"/query/after", "/query/since"}),
        ("last=1&limit=1", {"/query/last", "/query/limit"}),
        ("last=", {"/query/last"}),
        ("last=-1", {"/query/last"}),
        ("last=1.0", {"/query/last"}),
        ("last=%D9%A3", {"/query/last"}),
        ("last=%C2%B2", {"/query/last"}),
        ("last=" + "0" * 20 + "9" * 5_000, {"/query/last"}),
        ("after=281474976710656", {"/query/after"}),
        ("limit=0", {"/query/limit"}),
        ("since=yesterday", {"/query/since"}),
        ("since=2024-01-01", {"/query/since"}),
        ("since=2024-01-01T00:00:00", {"/query/since"}),
        ("since=-1", {"/query/since"}),
        ("since=" + "9" * 5_000, {"/query/since"}),
        ("last=1&last=1", {"/query/last"}),
        ("offset=1", {"/query/offset"}),
    ],
)
async def test_a_window_that_cannot_be_read_is_refused(
    api: AsyncClient, query: str, pointers: set[str]
) -> None:
    problem = assert_problem(await api.get(f"{URL}?{query}"), 400)

    assert {fault["pointer"] for fault in problem["errors"]} == pointers


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"messages":[]}', "/messages"),
        ('{"messages":{}}', "/messages"),
        ('{"messages":null}', "/messages"),
        ("{}", "/messages"),
        ("[]", ""),
        ("", ""),
        ('{"messages":[{},1]}', "/messages/1"),
        ('{"messages":["{}"]}', "/messages/0"),
        ('{"messages":[{}],"messages":[{}]}', ""),
        ('{"messages":[{}],"role":"user"}', "/role"),
        ('{"messages":[{}],"dedupe":""}', "/dedupe"),
        ('{"messages":[{}],"dedupe":1}', "/dedupe"),
        ('{"messages":[{}],"dedupe":null}', "/dedupe"),
        ('{"messages":[{},{"id":1,"id":1}],"dedupe":"id"}', "/messages/1"),
        ('{"messages":[{"id":1,"\\u0069d":1}],"dedupe":"id"}', "/messages/0"),
        ('{"messages":[{"\\"":1,"\\"":1}],"dedupe":"\\""}', "/messages/0"),
        ('{"messages":[{"a":' + "[" * 128 + "]" * 128 + "}]}", "/messages/0"),
        ('{"messages":[{"a":' + "[" * 50_000 + "]" * 50_000 + "}]}", ""),
        ('{"messages":[{"a":NaN}]}', ""),
        ('{"messages":[{"a":"\\ud800"}]}', ""),
        ('{"messages":[{"\\udfff":1}]}', ""),
        ('{"messages":[{}]}{}', ""),
        ('{"messages":[{}],"ttl":0}', "/ttl"),
        ('{"messages":[{}],"max_messages":0}', "/max_messages"),
    ],
)
async def test_a_malformed_append_is_refused_at_its_place(
    api: AsyncClient, body: str, pointer: str
) -> None:
    problem = assert_problem(await api.post(URL, content=body), 400, at=pointer)

    assert "errors" in problem
    assert_problem(await api.get(SESSION), 404)


async def test_a_member_that_is_twice_in_a_message_is_kept_if_it_identifies_nothing(
    api: AsyncClient,
) -> None:
    text = '{"x":{"id":1,"id":2},"id":3,"x":4}'
    assert (await append(api, text, dedupe='"id"')).status_code == 201
    assert text in (await api.get(URL)).text


async def test_a_message_may_be_nested_128_deep(api: AsyncClient) -> None:
    text = '{"a":' + "[" * 127 + "]" * 127 + "}"

    assert (await append(api, text)).status_code == 201
    assert text in (await api.get(URL)).text
