"""Replacing all messages over HTTP: a client's own compaction."""

import pytest
from httpx import AsyncClient, Response

from tests.app.calls import COLD, SESSION, everything
from tests.conftest import Serve
from tests.problems import assert_problem

URL = f"{SESSION}/messages"


async def replace(client: AsyncClient, *texts: str, **members: str) -> Response:
    more = "".join(f',"{name}":{text}' for name, text in members.items())
    return await client.put(URL, content=f'{{"messages":[{",".join(texts)}]{more}}}'.encode())


async def append(client: AsyncClient, *ids: int, dedupe: str = "id") -> Response:
    body = {"messages": [{"id": number} for number in ids], "dedupe": dedupe}
    return await client.post(URL, json=body)


async def held(client: AsyncClient) -> list[int]:
    """Return the seqs of all messages, the same from memory and from Redis."""
    warm = await client.get(URL, params={"last": "1000"})
    cold = await client.get(URL, params={"last": "1000"}, headers=COLD)
    assert warm.content == cold.content
    return [message["seq"] for message in cold.json()["messages"]]


async def test_the_new_stand_in_the_place_of_the_old_and_seq_goes_on(client: AsyncClient) -> None:
    before = await append(client, 1, 2, 3)
    answer = await replace(client, '{"summary":1.0}', '{ "x" : 1e999 }')

    assert answer.status_code == 200
    assert answer.headers["Durability"] == "redis+replay"
    assert answer.json() == {
        "first_seq": 4, "last_seq": 5, "count": 2, "etag": answer.headers["ETag"],
    }  # fmt: skip
    assert answer.headers["ETag"] != before.headers["ETag"]
    assert await held(client) == [4, 5]
    content = (await client.get(URL)).content
    assert b'"message":{"summary":1.0}}' in content
    assert b'"message":{ "x" : 1e999 }}' in content
    assert (await append(client, 9)).json()["first_seq"] == 6


async def test_it_makes_the_session(client: AsyncClient) -> None:
    answer = await replace(client, "{}", ttl="60", max_messages="5")

    assert (answer.status_code, answer.json()["first_seq"]) == (200, 1)
    session = (await client.get(SESSION)).json()
    assert (session["ttl"], session["max_messages"], session["message_count"]) == (60, 5, 1)


@pytest.mark.parametrize("exists", [True, False])
async def test_nothing_may_stand_in_their_place(client: AsyncClient, *, exists: bool) -> None:
    before = (await append(client, 1, 2)).headers["ETag"] if exists else None
    answer = await replace(client)

    assert answer.status_code == 200
    assert answer.json() == {
        "first_seq": None, "last_seq": None, "count": 0, "etag": answer.headers["ETag"],
    }  # fmt: skip
    assert answer.headers["ETag"] != before
    assert await held(client) == []
    assert (await append(client, 5)).json()["first_seq"] == (3 if exists else 1)


async def test_replacing_by_equal_messages_is_a_change(client: AsyncClient) -> None:
    first, second = await replace(client, "{}"), await replace(client, "{}")

    assert first.headers["ETag"] != second.headers["ETag"]
    assert await held(client) == [2]


async def test_what_identifies_messages_is_remembered_of_the_new_alone(
    client: AsyncClient,
) -> None:
    await append(client, 1, 2)
    answer = await replace(client, '{"id":2}', '{"id":3}', '{"id":3}', dedupe='"id"')

    assert answer.json()["count"] == 3  # none is skipped
    again = await append(client, 1, 2, 3)
    assert again.json()["duplicates"] == [2, 3]
    assert (again.json()["first_seq"], again.json()["count"]) == (6, 1)


async def test_without_dedupe_nothing_is_remembered(client: AsyncClient) -> None:
    await append(client, 1)
    await replace(client, '{"id":1}')

    assert (await append(client, 1)).json()["duplicates"] == []


async def test_another_dedupe_member_is_409_and_changes_nothing(client: AsyncClient) -> None:
    await append(client, 1)
    before = await everything(client)

    assert_problem(await replace(client, '{"x":1}', dedupe='"x"'), 409, "dedupe_mismatch")
    assert await everything(client) == before


async def test_more_than_the_session_keeps_is_413_with_its_limit(client: AsyncClient) -> None:
    await client.put(SESSION, json={"max_messages": 3})
    await append(client, 1)
    before = await everything(client)

    refused = await replace(client, *["{}"] * 4)
    assert assert_problem(refused, 413, "too_large")["limit"] == 3
    assert assert_problem(await replace(client, "{}", "{}", max_messages="1"), 413)["limit"] == 1
    assert await everything(client) == before
    assert (await replace(client, *["{}"] * 3)).status_code == 200
    assert (await replace(client, *["{}"] * 4, max_messages="4")).status_code == 200
    assert len(await held(client)) == 4


async def test_a_call_takes_5_000_at_most(api: AsyncClient) -> None:
    await api.put(SESSION, json={"max_messages": 20_000})

    refused = await replace(api, *["{}"] * 5_001)
    assert assert_problem(refused, 413, at="/messages")["limit"] == 5_000
    assert await held(api) == []
    answer = await replace(api, *["{}"] * 5_000)
    assert (answer.json()["count"], answer.json()["last_seq"]) == (5_000, 5_000)
    assert (await api.get(SESSION)).json()["message_count"] == 5_000


async def test_the_default_of_max_messages_counts_for_a_new_session(start: Serve) -> None:
    async with start(MAX_MESSAGES="2") as api:
        assert assert_problem(await replace(api, *["{}"] * 3), 413)["limit"] == 2
        assert_problem(await api.get(SESSION), 404)
        assert (await replace(api, *["{}"] * 2)).status_code == 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ("{}", "/messages"),
        ("[]", ""),
        ("", ""),
        ('{"messages":null}', "/messages"),
        ('{"messages":{}}', "/messages"),
        ('{"messages":[{},1]}', "/messages/1"),
        ('{"messages":[[]]}', "/messages/0"),
        ('{"messages":[{}],"messages":[]}', ""),
        ('{"messages":[{}],"etag":1}', "/etag"),
        ('{"messages":[{}],"touch":"write"}', "/touch"),
        ('{"messages":[{"id":1,"id":1}],"dedupe":"id"}', "/messages/0"),
        ('{"messages":[{}],"dedupe":1}', "/dedupe"),
        ('{"messages":[{}],"ttl":0}', "/ttl"),
        ('{"messages":[{}],"max_messages":0}', "/max_messages"),
        ('{"messages":[{"a":' + "[" * 128 + "]" * 128 + "}]}", "/messages/0"),
        ('{"messages":[{"a":NaN}]}', ""),
        ('{"messages":[{"a":"\\ud800"}]}', ""),
    ],
)
async def test_a_malformed_replacement_changes_nothing(
    api: AsyncClient, body: str, pointer: str
) -> None:
    await append(api, 1)
    before = await everything(api)

    assert_problem(await api.put(URL, content=body), 400, at=pointer)
    assert await everything(api) == before


async def test_a_message_that_is_too_large_is_told_by_its_place(start: Serve) -> None:
    async with start(MAX_MESSAGE_BYTES="256") as api:
        refused = await replace(api, "{}", '{"x":"' + "y" * 249 + '"}')

        assert assert_problem(refused, 413, at="/messages/1")["limit"] == 256
        assert_problem(await api.get(SESSION), 404)
