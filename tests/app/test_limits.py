"""Too large or too many: 413 with the limit, and nothing changed."""

import json

import pytest
from httpx import AsyncClient, Response

from tests.conftest import Serve
from tests.problems import assert_problem

SESSION = "/v1/sessions/a"
LIMITS = {
    "MAX_BODY_BYTES": "2000",
    "MAX_MESSAGE_BYTES": "256",
    "MAX_VALUE_BYTES": "256",
    "MAX_MESSAGES_PER_CALL": "3",
    "MAX_KEYS_PER_CALL": "3",
    "MAX_JSON_DEPTH": "4",
    "MAX_HEADER_LINES": "16",
}


async def post(api: AsyncClient, path: str, text: str) -> Response:
    return await api.post(f"{SESSION}/{path}", content=text.encode())


@pytest.mark.parametrize(
    ("path", "text", "limit", "pointer"),
    [
        ("messages", '{"messages":[' + " " * 2_000 + "{}]}", 2_000, None),
        ("messages", '{"messages":[{},{"x":"' + "y" * 249 + '"}]}', 256, "/messages/1"),
        ("messages", '{"messages":[{},{},{},{}]}', 3, "/messages"),
        ("state", '{"set":{"k":"' + "y" * 255 + '"}}', 256, "/set/k"),
        ("state", '{"set":{"a":1,"b":2},"get":["a","c"]}', 3, ""),
        ("state", '{"get":["a","b","c","d"]}', 3, "/get"),
        ("state", '{"set":{"a":1,"b":1,"c":1,"d":1}}', 3, "/set"),
    ],
)
async def test_more_than_a_limit_is_413(
    start: Serve, path: str, text: str, limit: int, pointer: str | None
) -> None:
    async with start(**LIMITS) as api:
        problem = assert_problem(await post(api, path, text), 413, at=pointer)
        assert problem["limit"] == limit
        assert_problem(await api.get(SESSION), 404)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("messages", '{"messages":[{},{"x":"' + "y" * 248 + '"}]}'),
        ("messages", '{"messages":[{},{},{}]}'),
        ("messages", '{"messages":[{"a":[[[]]]}]}'),
        ("state", '{"set":{"k":"' + "y" * 254 + '"}}'),
        ("state", '{"set":{"a":1,"b":2},"get":["a"]}'),
    ],
)
async def test_just_a_limit_is_taken(start: Serve, path: str, text: str) -> None:
    async with start(**LIMITS) as api:
        assert (await post(api, path, text)).is_success


@pytest.mark.parametrize("media_type", ["application/json", "image/png"])
async def test_a_value_has_its_own_limit(start: Serve, media_type: str) -> None:
    url, headers = f"{SESSION}/state/k", {"Content-Type": media_type}
    async with start(**LIMITS) as api:
        too_long = await api.put(url, content=b'"' + b"x" * 255 + b'"', headers=headers)
        assert assert_problem(too_long, 413, at="")["limit"] == 256
        longest = await api.put(url, content=b'"' + b"x" * 254 + b'"', headers=headers)
        assert longest.status_code == 201


async def test_the_default_limits_are_those_of_the_contract(api: AsyncClient) -> None:
    many = ",".join(["{}"] * 501)
    assert (
        assert_problem(await post(api, "messages", f'{{"messages":[{many}]}}'), 413)["limit"] == 500
    )
    keys = ",".join(f'"{number}":1' for number in range(5_001))
    assert assert_problem(await post(api, "state", f'{{"set":{{{keys}}}}}'), 413)["limit"] == 5_000
    message = '{"x":"' + "y" * 1_048_576 + '"}'
    problem = assert_problem(await post(api, "messages", f'{{"messages":[{message}]}}'), 413)
    assert problem["limit"] == 1_048_576
    value = await api.put(f"{SESSION}/state/k", content=b"x" * 4_194_305)
    assert assert_problem(value, 413)["limit"] == 4_194_304
    assert (await api.put(f"{SESSION}/state/k", content=b"x" * 4_194_304)).status_code == 201


async def test_a_page_of_messages_ends_early_where_it_would_be_too_large(start: Serve) -> None:
    limits = {"MAX_ANSWER_BYTES": "2048", "MAX_MESSAGE_BYTES": "500", "MAX_VALUE_BYTES": "500"}
    async with start(**limits) as api:
        for _ in range(12):
            await api.post(f"{SESSION}/messages", json={"messages": [{"x": "y" * 400}]})
        cold = {"Cache-Control": "no-cache"}

        newest = (await api.get(f"{SESSION}/messages?last=12", headers=cold)).json()
        assert newest["messages"][-1]["seq"] == 12
        assert newest["prev"] == newest["messages"][0]["seq"]
        oldest = (await api.get(f"{SESSION}/messages?after=0", headers=cold)).json()
        assert oldest["messages"][0]["seq"] == 1
        assert oldest["next"] == oldest["messages"][-1]["seq"] < 12


@pytest.mark.parametrize("headers", [{}, {"Cache-Control": "no-cache"}])
async def test_what_was_accepted_under_higher_limits_is_never_told_as_absent(
    start: Serve, headers: dict[str, str]
) -> None:
    async with start() as api:
        await api.post(f"{SESSION}/messages", json={"messages": [{}, {"x": "y" * 5_000}, {}]})
        await api.post(f"{SESSION}/state", json={"set": {"k": "x" * 5_000, "l": 1}})
    lower = {"MAX_ANSWER_BYTES": "1024", "MAX_VALUE_BYTES": "512", "MAX_MESSAGE_BYTES": "512"}
    async with start(**lower) as api:

        async def page(query: str) -> tuple[list[int], int | None, int | None]:
            answer = await api.get(f"{SESSION}/messages{query}", headers=headers)
            assert answer.status_code == 200, answer.text
            document = answer.json()
            seqs = [message["seq"] for message in document["messages"]]
            return seqs, document["prev"], document["next"]

        assert await page("") == ([3], 3, None)
        assert await page("?before=2") == ([1], None, 1)
        assert await page("?after=0") == ([1], None, 1)
        for path in ("messages?after=1", "messages?before=3", "messages/2"):
            refused = await api.get(f"{SESSION}/{path}", headers=headers)
            assert assert_problem(refused, 413, "too_large")["limit"] == 1_024
        assert len((await api.get(f"{SESSION}/state/k", headers=headers)).content) == 5_002
        listed = await api.get(f"{SESSION}/state?values=true", headers=headers)
        assert (list(listed.json()["values"]), listed.json()["next"]) == (["k"], "k")
        for part in ("state", "messages"):
            whole = await api.get(f"{SESSION}?include={part}", headers=headers)
            assert assert_problem(whole, 413)["limit"] == 1_024
        assert_problem(await api.delete(f"{SESSION}/messages?last=2"), 413)
        assert_problem(await api.post(f"{SESSION}/copy", json={"to": "b"}), 413)


async def test_memory_answers_no_more_keys_than_redis_would(start: Serve) -> None:
    async with start(MAX_KEYS_PER_CALL="3") as api:
        for keys in ("ab", "cd"):
            await post(api, "state", json.dumps({"set": dict.fromkeys(keys, 1)}))
        held = await api.get(f"{SESSION}?include=state")
        asked = await api.get(f"{SESSION}?include=state", headers={"Cache-Control": "no-cache"})

    assert_problem(held, 413)
    assert_problem(asked, 413)
