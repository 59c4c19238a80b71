"""Forking a session over HTTP: all of it, consistent, and a session of its own."""

import asyncio
from urllib.parse import quote

import pytest
from httpx import AsyncClient, Response

from tests.app.calls import COLD, SESSION, everything
from tests.app.test_ids import ODD
from tests.conftest import Serve
from tests.polling import eventually
from tests.problems import assert_problem

FORK = "/v1/sessions/b"
OWN = ("id", "etag", "created_at", "updated_at", "expires_at")
"""What a copy has of its own; all else is that of its source."""


async def copy(client: AsyncClient, to: str = "b", **headers: str) -> Response:
    return await client.post(f"{SESSION}/copy", json={"to": to}, headers=headers)


async def fill(client: AsyncClient, session: str = SESSION) -> None:
    settings = {"ttl": 600, "touch": "access", "max_age": 6_000, "max_messages": 4}
    assert (await client.put(session, json=settings)).status_code == 201
    messages = b'{"messages":[{"id":1},{"id":2},{"id" : 3.0},{"id":4},{"id":5}],"dedupe":"id"}'
    await client.post(f"{session}/messages", content=messages)
    await client.delete(f"{session}/messages/3")
    batch = b'{"set":{"j":{"a":1.0,"a":2},"empty":"","\xc3\xa9":[1e999]}}'
    await client.post(f"{session}/state", content=batch)
    await client.put(f"{session}/state/raw", content=b"\x00\xff", headers={"Content-Type": "a/b"})
    await client.put(f"{session}/state/json", content=b" 1 ", headers={"Content-Type": "a/x+json"})


async def contents(client: AsyncClient, session: str) -> dict[str, object]:
    """Return what is told of a session and all it holds, but for what is its own."""
    whole = (await client.get(session, params={"include": "state,messages"}, headers=COLD)).json()
    return {name: value for name, value in whole.items() if name not in OWN}


async def test_a_copy_holds_all_that_its_source_holds(client: AsyncClient) -> None:
    await fill(client)
    before = await everything(client)
    answer = await copy(client)

    assert answer.status_code == 201
    assert answer.headers["Durability"] == "redis+replay"
    assert answer.json() == (await client.get(FORK)).json()
    assert answer.json()["id"] == "b"
    assert answer.json()["etag"] == answer.headers["ETag"]
    assert answer.headers["Session-TTL"] == "600"
    assert await contents(client, FORK) == await contents(client, SESSION)
    assert await everything(client) == before
    for key in ("j", "empty", "%C3%A9", "raw", "json"):
        source, fork = [await client.get(f"{url}/state/{key}") for url in (SESSION, FORK)]
        assert fork.content == source.content
        assert fork.headers["Content-Type"] == source.headers["Content-Type"]
    source, fork = [await client.get(f"{url}/messages", headers=COLD) for url in (SESSION, FORK)]
    assert fork.content == source.content  # seq and at too


async def test_etags_of_a_copy_and_its_values_are_its_own(client: AsyncClient) -> None:
    await fill(client)
    await copy(client)

    for path in ("", "/state/j", "/state/raw"):
        source, fork = [await client.get(url + path) for url in (SESSION, FORK)]
        assert source.headers["ETag"] != fork.headers["ETag"]
        wrong = {"If-Match": source.headers["ETag"]}
        assert_problem(await client.get(FORK + path, headers=wrong), 412)


async def test_a_copy_begins_anew(client: AsyncClient) -> None:
    await fill(client)
    source = (await client.get(SESSION)).json()

    async def copy_again() -> Response:
        await client.delete(FORK)
        return await copy(client)

    fork = await eventually(copy_again, lambda r: r.json()["created_at"] > source["updated_at"])
    assert fork.json()["updated_at"] == fork.json()["created_at"]
    assert fork.json()["expires_at"] > source["expires_at"]


async def test_each_goes_its_own_way(client: AsyncClient) -> None:
    await fill(client)
    await copy(client)
    source = await everything(client)
    again = {"messages": [{"id": 5}, {"id": 3}, {"id": 6}], "dedupe": "id"}
    appended = await client.post(f"{FORK}/messages", json=again)
    await client.put(f"{FORK}/state/j", content=b"2")

    assert appended.json()["duplicates"] == [5]
    assert appended.json()["first_seq"] == 6
    assert await everything(client) == source
    await client.delete(SESSION)
    kept = (await client.get(FORK)).json()
    assert (kept["message_count"], kept["state_key_count"]) == (4, 5)


async def test_keys_that_expire_do_so_in_the_copy_at_the_same_time(client: AsyncClient) -> None:
    await client.put(f"{SESSION}/state/short", content=b"1", params={"key_ttl": "0.3"})
    await client.put(f"{SESSION}/state/long", content=b"1", params={"key_ttl": "60"})
    await client.put(f"{SESSION}/state/gone", content=b"1", params={"key_ttl": "0.001"})

    async def keys(url: str) -> list[str]:
        listed = await client.get(f"{url}/state", headers=COLD)
        names: list[str] = listed.json()["keys"]
        return names

    await eventually(lambda: keys(SESSION), lambda names: "gone" not in names)
    assert (await copy(client)).json()["state_key_count"] == 2
    assert await keys(FORK) == ["long", "short"]
    await eventually(lambda: keys(FORK), lambda names: names == ["long"])
    assert await keys(SESSION) == ["long"]


async def test_no_lease_and_no_keyed_call_is_copied(client: AsyncClient) -> None:
    body, key = b'{"messages":[{}]}', {"Idempotency-Key": "k"}
    await client.post(f"{SESSION}/messages", content=body, headers=key)
    token = (await client.post(f"{SESSION}/lease")).json()["token"]
    assert (await copy(client, **{"Lease-Token": token})).status_code == 201

    fenced = await client.put(FORK, headers={"Lease-Token": token})
    assert_problem(fenced, 423, "wrong_lease")
    assert (await client.post(f"{FORK}/lease")).status_code == 201
    appended = await client.post(f"{FORK}/messages", content=body, headers=key)
    assert appended.json()["first_seq"] == 2
    assert "Idempotency-Replayed" not in appended.headers


async def test_an_empty_session_is_copied_too(client: AsyncClient) -> None:
    await client.put(SESSION, json={"ttl": None})
    answer = await copy(client)

    assert (answer.status_code, answer.json()["ttl"]) == (201, None)
    assert "Session-TTL" not in answer.headers


async def test_of_no_session_there_is_no_copy(client: AsyncClient) -> None:
    assert_problem(await copy(client), 404, "session_not_found")
    assert_problem(await client.get(FORK), 404)


@pytest.mark.parametrize("to", ["a", "b"])
async def test_a_session_that_exists_is_409_and_stays(client: AsyncClient, to: str) -> None:
    await fill(client)
    await client.put(f"{FORK}/state/k", content=b"1")
    before = [await everything(client, url) for url in (SESSION, FORK)]

    assert_problem(await copy(client, to), 409, "session_exists")
    assert [await everything(client, url) for url in (SESSION, FORK)] == before


async def test_the_id_of_an_expired_or_deleted_session_is_free(client: AsyncClient) -> None:
    await fill(client)
    await client.put(f"{FORK}/state/k", content=b"1")
    await client.patch(FORK, json={"ttl": 0.001})

    copied = await eventually(lambda: copy(client), lambda r: r.status_code != 409)
    assert copied.status_code == 201
    await client.delete(FORK)
    assert (await copy(client)).status_code == 201
    assert (await client.get(f"{FORK}?include=state")).json()["state"].keys() == {
        "j", "empty", "\u00e9", "raw", "json",
    }  # fmt: skip


async def test_conditions_are_of_the_source(client: AsyncClient) -> None:
    await fill(client)
    etag = (await client.get(SESSION)).headers["ETag"]

    for name, value in (("If-Match", '"x-1"'), ("If-None-Match", etag), ("If-None-Match", "*")):
        refused = await copy(client, **{name: value})
        assert assert_problem(refused, 412)["etag"] == etag
    assert_problem(await client.get(FORK), 404)
    assert (await copy(client, **{"If-Match": etag})).status_code == 201


@pytest.mark.parametrize("name", ODD)
async def test_a_copy_may_have_any_id(client: AsyncClient, name: str) -> None:
    await client.put(f"{SESSION}/state/k", content=b"1")
    answer = await copy(client, name)

    assert (answer.status_code, answer.json()["id"]) == (201, name)
    assert (await client.get(f"/v1/sessions/{quote(name, safe='')}/state/k")).content == b"1"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ("", ""), ("{}", "/to"), ("[]", ""), ('{"to":null}', "/to"), ('{"to":1}', "/to"),
        ('{"to":""}', "/to"), ('{"to":"."}', "/to"), ('{"to":".."}', "/to"),
        ('{"to":"a\\u0000"}', "/to"), ('{"to":"\\u007f"}', "/to"), ('{"to":"\\n"}', "/to"),
        ('{"to":"' + "x" * 257 + '"}', "/to"), ('{"to":"' + "\u00e9" * 129 + '"}', "/to"),
        ('{"to":"b","to":"b"}', ""), ('{"to":"b","ttl":1}', "/ttl"), ('{"to":"\\ud800"}', ""),
    ],
)  # fmt: skip
async def test_a_malformed_copy_is_refused_at_its_place(
    api: AsyncClient, body: str, pointer: str
) -> None:
    await api.put(SESSION)
    response = await api.post(f"{SESSION}/copy", content=body.encode())

    assert_problem(response, 400, at=pointer)
    assert len((await api.get("/v1/sessions?limit=1000")).json()["sessions"]) == 1


@pytest.mark.parametrize("part", ["state", "messages"])
async def test_a_session_over_the_limit_of_an_answer_is_413(start: Serve, part: str) -> None:
    limits = {"MAX_ANSWER_BYTES": "2048", "MAX_VALUE_BYTES": "500", "MAX_MESSAGE_BYTES": "500"}
    async with start(**limits) as api:
        for number in range(6):
            if part == "state":
                await api.put(f"{SESSION}/state/{number}", content=b"x" * 450)
            else:
                await api.post(f"{SESSION}/messages", json={"messages": [{"x": "y" * 440}]})
            if number == 2:
                assert (await copy(api, "small")).status_code == 201
        before = (await api.get(SESSION)).content

        assert assert_problem(await copy(api), 413)["limit"] == 2_048
        assert_problem(await api.get(FORK), 404)
        assert (await api.get(SESSION)).content == before


async def test_a_snapshot_is_of_one_moment(client: AsyncClient) -> None:
    async def write(number: int) -> None:
        await client.post(f"{SESSION}/state", json={"set": {"a": number, "b": number}})
        await client.post(f"{SESSION}/messages", json={"messages": [{"n": number}] * 2})

    await write(0)
    copies = [copy(client, f"b{number}") for number in range(15)]
    writes = asyncio.gather(*map(write, range(1, 16)))
    answers = await asyncio.gather(*copies)
    await writes

    assert {answer.status_code for answer in answers} == {201}
    for number, answer in enumerate(answers):
        url = f"/v1/sessions/b{number}?include=state,messages"
        whole = (await client.get(url, headers=COLD)).json()
        assert whole["etag"] == answer.json()["etag"]
        assert whole["state"]["a"] == whole["state"]["b"]
        assert whole["message_count"] == len(whole["messages"]) == whole["last_seq"]
        assert whole["message_count"] % 2 == 0


async def test_a_long_session_is_copied_whole(client: AsyncClient) -> None:
    await client.put(SESSION, json={"max_messages": 5_000})
    body = {"messages": [{"n": number} for number in range(4_500)]}
    await client.put(f"{SESSION}/messages", json=body)
    await client.post(f"{SESSION}/state", json={"set": {str(n): n for n in range(4_500)}})
    await copy(client)

    for query in ("/messages?after=0&limit=1000", "/messages?last=1000", "/state?limit=1000"):
        source, fork = [await client.get(url + query, headers=COLD) for url in (SESSION, FORK)]
        assert fork.content == source.content
    assert (await client.get(FORK)).json()["message_count"] == 4_500
    assert (await client.get(FORK)).json()["state_key_count"] == 4_500
