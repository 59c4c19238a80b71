"""Messages removed over HTTP: popped, trimmed, cleared, one by one."""

import pytest
from httpx import AsyncClient, Response

from tests.app.calls import COLD, SESSION, everything
from tests.conftest import Serve
from tests.polling import eventually
from tests.problems import assert_problem

URL = f"{SESSION}/messages"


async def append(client: AsyncClient, *ids: int) -> Response:
    body = {"messages": [{"id": number} for number in ids], "dedupe": "id"}
    response = await client.post(URL, json=body)
    assert response.is_success, response.text
    return response


async def held(client: AsyncClient) -> list[int]:
    """Return the seqs of all messages, the same from memory and from Redis."""
    warm = await client.get(URL, params={"last": "1000"})
    cold = await client.get(URL, params={"last": "1000"}, headers=COLD)
    assert warm.content == cold.content
    found = [message["seq"] for message in cold.json()["messages"]]
    assert cold.json()["total"] == len(found)
    assert cold.json()["first_seq"] == (found[0] if found else None)
    assert cold.json()["last_seq"] == (found[-1] if found else None)
    return found


async def test_a_pop_takes_the_newest_and_answers_them_oldest_first(client: AsyncClient) -> None:
    texts = [b'{"a":1.0}', b'{ "a" : 1e999 }', b'{"a":1,"a":2}']
    appended = await client.post(URL, content=b'{"messages":[%b]}' % b",".join(texts))
    before = (await client.get(URL)).json()["messages"]
    popped = await client.delete(URL, params={"last": "2"})

    assert popped.status_code == 200
    assert popped.json().keys() == {"messages"}
    assert [message["seq"] for message in popped.json()["messages"]] == [2, 3]
    assert [message["at"] for message in popped.json()["messages"]] == [
        message["at"] for message in before[1:]
    ]
    assert all(b'"message":%b}' % text in popped.content for text in texts[1:])
    assert popped.headers["ETag"] != appended.headers["ETag"]
    assert await held(client) == [1]


@pytest.mark.parametrize(
    ("last", "popped", "left"),
    [("0", [], [1, 2, 3]), ("1", [3], [1, 2]), ("3", [1, 2, 3], []), ("99999", [1, 2, 3], [])],
)
async def test_a_pop_takes_as_many_as_there_are(
    client: AsyncClient, last: str, popped: list[int], left: list[int]
) -> None:
    etag = (await append(client, 1, 2, 3)).headers["ETag"]
    answer = await client.delete(URL, params={"last": last})

    assert [message["seq"] for message in answer.json()["messages"]] == popped
    assert (answer.headers["ETag"] == etag) is (not popped)
    assert await held(client) == left


async def test_a_pop_takes_1000_at_most(api: AsyncClient) -> None:
    await api.put(SESSION, json={"max_messages": 2_000})
    for _ in range(3):
        await api.post(URL, json={"messages": [{}] * 400})
    popped = (await api.delete(URL, params={"last": "1200"})).json()["messages"]

    assert [message["seq"] for message in popped] == list(range(201, 1_201))
    assert (await api.get(URL)).json()["total"] == 200


async def test_a_pop_that_would_answer_too_much_pops_nothing(start: Serve) -> None:
    limits = {"MAX_ANSWER_BYTES": "1024", "MAX_VALUE_BYTES": "512", "MAX_MESSAGE_BYTES": "512"}
    async with start(**limits) as api:
        for _ in range(3):
            await api.post(URL, json={"messages": [{"x": "y" * 450}]})
        before = await held_total(api)
        refused = await api.delete(URL, params={"last": "3"})

        assert assert_problem(refused, 413, "too_large")["limit"] == 1_024
        assert await held_total(api) == before == 3
        assert len((await api.delete(URL, params={"last": "2"})).json()["messages"]) == 2


async def held_total(api: AsyncClient) -> int:
    total: int = (await api.get(SESSION)).json()["message_count"]
    return total


@pytest.mark.parametrize(
    ("before", "deleted"),
    [("0", 0), ("1", 0), ("2", 1), ("4", 3), ("5", 3), ("281474976710655", 3)],
)
async def test_a_trim_takes_what_is_before_a_seq(
    client: AsyncClient, before: str, deleted: int
) -> None:
    etag = (await append(client, 1, 2, 3)).headers["ETag"]
    answer = await client.delete(URL, params={"before": before})

    assert (answer.status_code, answer.json()) == (200, {"deleted": deleted})
    assert (answer.headers["ETag"] == etag) is (deleted == 0)
    assert await held(client) == [1, 2, 3][deleted:]


async def test_a_clear_takes_all_and_the_session_stays(client: AsyncClient) -> None:
    await client.put(f"{SESSION}/state/k", content=b"1")
    etag = (await append(client, 1, 2, 3)).headers["ETag"]
    first, second = await client.delete(URL), await client.delete(URL)

    assert (first.status_code, first.content) == (204, b"")
    assert first.headers["ETag"] == second.headers["ETag"] != etag
    assert await held(client) == []
    assert (await client.get(f"{SESSION}/state/k")).content == b"1"


@pytest.mark.parametrize("query", ["", "?last=3", "?before=4", "/1", "/2", "/3"])
async def test_what_was_removed_is_never_numbered_again_and_may_come_again(
    client: AsyncClient, query: str
) -> None:
    await append(client, 1, 2, 3)
    assert (await client.delete(URL + query)).is_success
    left = await held(client)
    again = await append(client, 1, 2, 3)

    assert again.json()["first_seq"] == 4
    assert again.json()["duplicates"] == left
    assert (await held(client))[: len(left)] == left


@pytest.mark.parametrize(
    ("query", "status", "body"),
    [("", 204, None), ("?last=5", 200, {"messages": []}), ("?before=5", 200, {"deleted": 0})],
)
async def test_of_no_session_nothing_is_removed(
    client: AsyncClient, query: str, status: int, body: object
) -> None:
    answer = await client.delete(URL + query)

    assert answer.status_code == status
    assert (answer.json() if answer.content else None) == body
    assert answer.headers["Durability"] == "redis"
    assert "ETag" not in answer.headers
    assert_problem(await client.get(SESSION), 404)


@pytest.mark.parametrize("query", ["", "?last=0", "?before=0", "/7"])
async def test_a_removal_of_nothing_keeps_the_revision_and_renews(
    client: AsyncClient, query: str
) -> None:
    created = await client.put(SESSION)
    ends = created.headers["Session-Expires"]

    async def remove() -> Response:
        return await client.delete(URL + query)

    answer = await eventually(remove, lambda r: r.headers["Session-Expires"] > ends)
    assert answer.headers["ETag"] == created.headers["ETag"]


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("last=1&before=1", {"/query/before", "/query/last"}),
        ("last=", {"/query/last"}),
        ("last=-1", {"/query/last"}),
        ("last=1.5", {"/query/last"}),
        ("last=all", {"/query/last"}),
        ("last=281474976710656", {"/query/last"}),
        ("before=", {"/query/before"}),
        ("before=-1", {"/query/before"}),
        ("before=281474976710656", {"/query/before"}),
        ("after=1", {"/query/after"}),
        ("since=1", {"/query/since"}),
        ("seq=1", {"/query/seq"}),
    ],
)
async def test_a_removal_that_cannot_be_read_removes_nothing(
    api: AsyncClient, query: str, pointers: set[str]
) -> None:
    await append(api, 1, 2)
    before = await everything(api)

    problem = assert_problem(await api.delete(f"{URL}?{query}"), 400)
    assert {fault["pointer"] for fault in problem["errors"]} == pointers
    assert await everything(api) == before


async def test_prefix_deletes_the_keys_that_begin_so(client: AsyncClient) -> None:
    names = ["a", "a*", "a/1", "ab", "b", "*", "\u00e9", "e\u0301"]
    await client.post(f"{SESSION}/state", json={"set": dict.fromkeys(names, 1)})

    for prefix, deleted in (("a*", 1), ("*", 1), ("e", 1), ("none", 0), ("a/1x", 0), ("a", 3)):
        answer = await client.delete(f"{SESSION}/state", params={"prefix": prefix})
        assert (answer.status_code, answer.json()) == (200, {"deleted": deleted})
    listed = await client.get(f"{SESSION}/state", headers=COLD)
    assert listed.json() == {"keys": ["b", "\u00e9"], "next": None}
    assert (await client.get(f"{SESSION}/state")).content == listed.content
    assert (await client.get(SESSION)).json()["state_key_count"] == 2
    assert_problem(await client.get(f"{SESSION}/state/ab"), 404, "key_not_found")


@pytest.mark.parametrize("query", ["", "?prefix="])
async def test_no_prefix_deletes_all_keys_and_no_message(client: AsyncClient, query: str) -> None:
    await append(client, 1)
    etag = (await client.post(f"{SESSION}/state", json={"set": {"a": 1, "b": 2}})).headers["ETag"]
    first = await client.delete(f"{SESSION}/state{query}")
    second = await client.delete(f"{SESSION}/state{query}")

    assert (first.json(), second.json()) == ({"deleted": 2}, {"deleted": 0})
    assert first.headers["ETag"] == second.headers["ETag"] != etag
    assert await held(client) == [1]
    assert (await client.get(f"{SESSION}?include=state")).json()["state"] == {}


async def test_a_key_set_after_a_prefix_delete_is_there(client: AsyncClient) -> None:
    for value in (b"1", b"2"):
        await client.put(f"{SESSION}/state/k", content=value)
        await client.put(f"{SESSION}/state/j", content=value, params={"key_ttl": "60"})
        assert (await client.get(f"{SESSION}/state/k")).content == value
        assert (await client.delete(f"{SESSION}/state")).json() == {"deleted": 2}
    assert (await client.get(f"{SESSION}/state")).json()["keys"] == []


async def test_a_prefix_delete_of_no_session_deletes_nothing(client: AsyncClient) -> None:
    answer = await client.delete(f"{SESSION}/state")

    assert (answer.status_code, answer.json()) == (200, {"deleted": 0})
    assert "ETag" not in answer.headers
    assert_problem(await client.get(SESSION), 404)


async def test_of_too_many_keys_none_is_looked_through(api: AsyncClient) -> None:
    for first in range(0, 45_000, 5_000):
        names = {f"{number:05}": 1 for number in range(first, first + 5_000)}
        assert (await api.post(f"{SESSION}/state", json={"set": names})).is_success

    searched = await api.delete(f"{SESSION}/state?prefix=0")
    assert assert_problem(searched, 413)["limit"] == 20_000
    listed = await api.get(f"{SESSION}/state?limit=1")
    assert assert_problem(listed, 413)["limit"] == 30_000
    assert (await api.delete(f"{SESSION}/state")).json() == {"deleted": 45_000}
