"""Idempotency-Key: a call that is sent again is answered as it was, and done once."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from httpx import AsyncClient, Response

from tests.app.calls import MUTATIONS, SESSION, everything, make
from tests.conftest import Serve
from tests.problems import assert_problem

STATE, MESSAGES = f"{SESSION}/state", f"{SESSION}/messages"
KEYED = {"append": MUTATIONS["append"], "pop": MUTATIONS["pop"], "batch": MUTATIONS["batch"]}
CHANGING_HEADERS = {"x-request-id", "session-expires", "session-ttl", "idempotency-replayed"}


def keyed(key: str = "key-1") -> dict[str, str]:
    return {"Idempotency-Key": key}


def is_replayed(response: Response) -> bool:
    told = response.headers.get("Idempotency-Replayed")
    assert told in {None, "true"}
    return told is not None


def told(response: Response) -> dict[str, Any]:
    """Return all that has to be the same when a call is repeated."""
    document = response.json()
    document.pop("request_id", None)
    headers = {name: response.headers[name] for name in response.headers.keys() - CHANGING_HEADERS}
    return {"status": response.status_code, "body": document, "headers": headers}


async def append(client: AsyncClient, *ids: int, key: str = "key-1") -> Response:
    body = {"messages": [{"id": number} for number in ids], "dedupe": "id"}
    return await client.post(MESSAGES, json=body, headers=keyed(key))


async def test_an_append_is_done_once_and_answered_twice(client: AsyncClient) -> None:
    await append(client, 1, key="before")
    first = await append(client, 1, 2, 3)
    await append(client, 4, key="between")
    held = await everything(client)
    again = await append(client, 1, 2, 3)

    assert (first.status_code, is_replayed(first), is_replayed(again)) == (201, False, True)
    assert told(again) == told(first)
    assert again.json()["duplicates"] == [1]
    assert (again.json()["first_seq"], again.json()["last_seq"]) == (2, 3)
    assert await everything(client) == held


async def test_all_duplicates_is_an_outcome_too(client: AsyncClient) -> None:
    await append(client, 1, 2, key="before")
    first = await append(client, 2, 1)
    await client.delete(MESSAGES)
    again = await append(client, 2, 1)

    assert (first.status_code, first.json()["duplicates"]) == (200, [2, 1])
    assert is_replayed(again)
    assert told(again) == told(first)
    assert (await client.get(MESSAGES)).json()["total"] == 0


async def test_the_append_that_made_the_session_is_known(client: AsyncClient) -> None:
    first, again = await append(client, 1), await append(client, 1)

    assert told(again) == told(first)
    assert is_replayed(again)
    assert (await client.get(MESSAGES)).json()["total"] == 1


async def test_a_pop_gives_the_same_messages_again(client: AsyncClient) -> None:
    texts = [b'{"n":1.0}', b'{"n" : 2}', b'{"\\u006e":3}']
    await client.post(MESSAGES, content=b'{"messages":[%b]}' % b",".join(texts))
    first = await client.delete(MESSAGES, params={"last": "2"}, headers=keyed())
    await append(client, 9, key="between")
    again = await client.delete(MESSAGES, params={"last": "2"}, headers=keyed())

    assert [message["seq"] for message in first.json()["messages"]] == [2, 3]
    assert again.content == first.content
    assert texts[2] in again.content
    assert (told(again), is_replayed(again)) == (told(first), True)
    left = (await client.get(MESSAGES)).json()["messages"]
    assert [message["seq"] for message in left] == [1, 4]


async def test_a_batch_is_done_once_and_its_values_are_read_anew(client: AsyncClient) -> None:
    body = b'{"set":{"k":1,"old":null},"merge":{"o":{"x":1}},"get":["k","o","none"]}'
    await client.put(f"{STATE}/old", content=b"1")
    first = await client.post(STATE, content=body, headers=keyed())
    await client.post(STATE, content=b'{"set":{"k":2.0,"o":null,"old":5}}')
    held = await everything(client)
    again = await client.post(STATE, content=body, headers=keyed())

    assert first.json()["values"] == {"k": 1, "o": {"x": 1}, "none": None}
    assert b'"values":{"k":2.0,"o":null,"none":null}' in again.content
    assert again.json()["deleted"] == first.json()["deleted"] == 1
    assert again.json()["etag"] == again.headers["ETag"] == first.headers["ETag"]
    assert (is_replayed(first), is_replayed(again)) == (False, True)
    assert await everything(client) == held


async def test_values_that_are_read_anew_have_forgotten_what_expired(client: AsyncClient) -> None:
    await client.post(STATE, json={"set": {"k": 1}, "key_ttl": 0.05})
    body = {"set": {"j": 1}, "get": ["k"]}
    await client.post(STATE, json=body, headers=keyed())
    await asyncio.sleep(0.06)
    again = await client.post(STATE, json=body, headers=keyed())

    assert (is_replayed(again), again.json()["values"]) == (True, {"k": None})


async def test_a_repetition_with_more_to_read_than_an_answer_holds_is_413(start: Serve) -> None:
    limits = {"MAX_ANSWER_BYTES": "1024", "MAX_VALUE_BYTES": "512", "MAX_MESSAGE_BYTES": "512"}
    async with start(**limits) as api:
        body = {"set": {"k": 1}, "get": ["a", "b", "c"]}
        await api.post(STATE, json=body, headers=keyed())
        for name in "abc":
            await api.put(f"{STATE}/{name}", content=b"x" * 500)
        again = await api.post(STATE, json=body, headers=keyed())

        assert assert_problem(again, 413)["limit"] == 1_024
        assert is_replayed(again)


@pytest.mark.parametrize("does", KEYED)
async def test_a_condition_that_failed_fails_again(client: AsyncClient, does: str) -> None:
    await make(client)
    refused = {"If-Match": '"x-1"', **keyed()}
    first = await KEYED[does].send(client, refused)
    await client.put(f"{STATE}/other", content=b"1")
    again = await KEYED[does].send(client, refused)

    assert_problem(first, 412, "precondition_failed")
    assert told(again) == told(first)
    assert (is_replayed(first), is_replayed(again)) == (False, True)


@pytest.mark.parametrize("does", KEYED)
async def test_what_was_done_is_told_before_conditions_are_tried(
    client: AsyncClient, does: str
) -> None:
    etag = (await make(client)).headers["ETag"]
    headers = {"If-Match": etag, **keyed()}
    first = await KEYED[does].send(client, headers)
    again = await KEYED[does].send(client, headers)

    assert first.is_success
    assert is_replayed(again)
    assert told(again) == told(first)


@pytest.mark.parametrize("does", KEYED)
async def test_a_condition_on_no_session_leaves_nothing_behind(api: AsyncClient, does: str) -> None:
    for _ in range(2):
        response = await KEYED[does].send(api, {"If-Match": "*", **keyed()})
        assert_problem(response, 412)
        assert not is_replayed(response)
    assert_problem(await api.get(SESSION), 404)


async def test_a_keyed_pop_over_16_kib_pops_nothing(client: AsyncClient) -> None:
    for number in range(3):
        message = {"n": number, "text": "x" * 8_000}
        await client.post(MESSAGES, json={"messages": [message]})
    before = await everything(client)
    first = await client.delete(f"{MESSAGES}?last=3", headers=keyed())
    again = await client.delete(f"{MESSAGES}?last=3", headers=keyed())

    assert assert_problem(first, 413, "too_large")["limit"] == 16_384
    assert told(again) == told(first)
    assert (is_replayed(first), is_replayed(again)) == (False, True)
    assert await everything(client) == before
    fitting = await client.delete(f"{MESSAGES}?last=2", headers=keyed("key-2"))
    assert len(fitting.json()["messages"]) == 2
    assert len((await client.delete(f"{MESSAGES}?last=3")).json()["messages"]) == 1


async def test_a_batch_that_would_answer_too_much_is_413_again(start: Serve) -> None:
    limits = {"MAX_ANSWER_BYTES": "1024", "MAX_VALUE_BYTES": "512", "MAX_MESSAGE_BYTES": "512"}
    async with start(**limits) as api:
        for name in "abc":
            await api.put(f"{STATE}/{name}", content=b"x" * 500)
        body = {"set": {"k": 1}, "get": ["a", "b", "c"]}
        first = await api.post(STATE, json=body, headers=keyed())
        await api.delete(f"{STATE}/a")
        again = await api.post(STATE, json=body, headers=keyed())

        assert_problem(first, 413)
        assert (told(again), is_replayed(again)) == (told(first), True)
        assert_problem(await api.get(f"{STATE}/k"), 404)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "messages", b'{"messages":[{"n":2}]}'),
        ("POST", "messages", b'{"messages":[{"n":1}]} '),
        ("POST", "state", b'{"messages":[{"n":1}]}'),
        ("POST", "state", b'{"set":{"k":1}}'),
        ("DELETE", "messages?last=1", b""),
        ("POST", "%6dessages", b'{"messages":[{"n":1}]}'),
    ],
)
async def test_the_key_of_another_call_is_422(
    client: AsyncClient, method: str, path: str, body: bytes
) -> None:
    first = await client.post(MESSAGES, content=b'{"messages":[{"n":1}]}', headers=keyed())
    before = await everything(client)
    other = await client.request(method, f"{SESSION}/{path}", content=body, headers=keyed())

    if other.status_code in {400, 404}:  # it is none that could be remembered
        assert_problem(other, other.status_code)
    else:
        assert_problem(other, 422, "idempotency_key_reused")
    assert not is_replayed(other)
    assert await everything(client) == before
    again = await client.post(MESSAGES, content=b'{"messages":[{"n":1}]}', headers=keyed())
    assert told(again) == told(first)


async def test_a_pop_of_another_number_is_another_call(client: AsyncClient) -> None:
    await make(client)
    await client.delete(f"{MESSAGES}?last=1", headers=keyed())

    other = await client.delete(f"{MESSAGES}?last=2", headers=keyed())
    assert_problem(other, 422, "idempotency_key_reused")
    assert (await client.get(MESSAGES)).json()["total"] == 2


async def test_an_id_spelled_in_another_way_is_another_call(client: AsyncClient) -> None:
    await append(client, 1)
    body = {"messages": [{"id": 1}], "dedupe": "id"}
    other = await client.post("/v1/sessions/%61/messages", json=body, headers=keyed())

    assert_problem(other, 422, "idempotency_key_reused")


@pytest.mark.parametrize(
    "sent", [[b""], [b"x" * 256], [b"a", b"a"], [b"\xc3\xa9"], [b"a\tb"], [b"a\x7f"]]
)
@pytest.mark.parametrize("does", KEYED)
async def test_a_key_that_cannot_be_read_is_400(
    api: AsyncClient, does: str, sent: list[bytes]
) -> None:
    await make(api)
    before, call = await everything(api), KEYED[does]
    headers = [(b"Idempotency-Key", key) for key in sent]
    response = await api.request(call.method, call.path(), content=call.body, headers=headers)

    assert_problem(response, 400, at="/headers/idempotency-key")
    assert await everything(api) == before


@pytest.mark.parametrize("key", ["x", "x" * 255, "a b", '"8e03978e-40d5-43dd-bc93-6894a57f9324"'])
async def test_a_key_is_1_to_255_printable_characters(client: AsyncClient, key: str) -> None:
    assert not is_replayed(await append(client, 1, key=key))
    assert is_replayed(await append(client, 1, key=key))


@pytest.mark.parametrize("key", ["key-1", "", "x" * 256, "\u00e9"])
@pytest.mark.parametrize("does", sorted(MUTATIONS.keys() - KEYED.keys() - {"merge", "copy"}))
async def test_what_is_idempotent_by_nature_knows_no_key(
    api: AsyncClient, does: str, key: str
) -> None:
    await make(api)
    call = MUTATIONS[does]
    for _ in range(2):
        headers = {b"Idempotency-Key": key.encode()}
        response = await api.request(call.method, call.path(), content=call.body, headers=headers)
        assert response.is_success
        assert not is_replayed(response)


async def test_a_batch_that_only_gets_knows_no_key(client: AsyncClient) -> None:
    await make(client)
    for value in (1, 2):
        await client.put(f"{STATE}/k", json=value)
        answer = await client.post(STATE, json={"get": ["k"]}, headers=keyed())
        assert (answer.json()["values"], is_replayed(answer)) == ({"k": value}, False)
    assert not is_replayed(await append(client, 1))


async def test_two_sessions_may_have_calls_of_one_key(client: AsyncClient) -> None:
    await append(client, 1)
    other = await client.post("/v1/sessions/b/messages", json={"messages": [{}]}, headers=keyed())

    assert (other.status_code, is_replayed(other)) == (201, False)


async def test_two_namespaces_may_have_calls_of_one_key(start: Serve) -> None:
    async with start(API_KEYS="one:rw:key-of-one,two:rw:key-of-two") as api:
        for namespace in ("one", "two"):
            headers = {"Authorization": f"Bearer key-of-{namespace}", **keyed()}
            answers = [
                await api.post(MESSAGES, json={"messages": [{}]}, headers=headers) for _ in range(2)
            ]
            assert [answer.status_code for answer in answers] == [201, 201]
            assert list(map(is_replayed, answers)) == [False, True]


async def test_the_last_16_keyed_calls_are_remembered(client: AsyncClient) -> None:
    for number in range(17):
        assert not is_replayed(await append(client, number, key=f"key-{number}"))

    for number in range(1, 17):
        assert is_replayed(await append(client, number, key=f"key-{number}"))
    assert not is_replayed(await append(client, 0, key="key-0"))
    assert (await client.get(MESSAGES)).json()["total"] == 17


async def test_a_session_made_anew_remembers_no_call(client: AsyncClient) -> None:
    await append(client, 1)
    await client.delete(SESSION)

    again = await append(client, 1)
    assert (again.status_code, is_replayed(again)) == (201, False)


async def test_a_repetition_renews_nothing_and_says_what_the_expiry_is_now(
    client: AsyncClient,
) -> None:
    await append(client, 1)
    changed = await client.patch(SESSION, json={"ttl": 60, "touch": "never"})
    again = await append(client, 1)

    assert again.headers["Session-Expires"] == changed.headers["Session-Expires"]
    assert again.headers["ETag"] == again.json()["etag"] != changed.headers["ETag"]


async def test_memory_follows_no_repetition(client: AsyncClient) -> None:
    await make(client)
    for call in (*KEYED.values(), MUTATIONS["merge"]):
        key = keyed(str(uuid4()))
        await call.send(client, key)
        await client.put(f"{STATE}/other", content=b"1")
        assert is_replayed(await call.send(client, key))
        params = {"include": "state,messages", "last": "1000"}
        assert (await client.get(SESSION, params=params)).content == await everything(client)


async def test_equal_calls_at_the_same_time_are_done_once(client: AsyncClient) -> None:
    await make(client)
    answers = await asyncio.gather(*[append(client, 1) for _ in range(20)])

    statuses = {answer.status_code for answer in answers}
    assert statuses <= {201, 409}
    assert sum(not is_replayed(answer) for answer in answers if answer.status_code == 201) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert_problem(answer, 409, "idempotency_in_progress")
    assert (await client.get(MESSAGES)).json()["total"] == 4
