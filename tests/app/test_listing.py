"""The listing of sessions over HTTP: its shape, its pages, who may ask, and what is refused."""

from typing import Any
from urllib.parse import quote

import pytest
from httpx import AsyncClient
from redis import Redis

from service.access import Credential, Principal, Scope
from service.http.auth import Keyring
from service.http.listing_routes import MOST_DOCUMENT_BYTES
from service.model import Namespace
from service.settings import load_settings
from tests.app.conftest import run_with_state
from tests.conftest import Serve, run_app
from tests.problems import assert_problem
from tests.servers import Server

URL = "/v1/sessions"


async def make(client: AsyncClient, *names: str, **headers: str) -> None:
    for name in names:
        created = await client.put(f"{URL}/{quote(name, safe='')}", headers=headers)
        assert created.status_code == 201


async def pages(client: AsyncClient, **query: str) -> list[list[dict[str, Any]]]:
    found = []
    while True:
        answer = await client.get(URL, params=query)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert document.keys() == {"sessions", "next"}
        found.append(document["sessions"])
        if document["next"] is None:
            return found
        query["cursor"] = document["next"]


async def ids(client: AsyncClient, **query: str) -> set[str]:
    return {session["id"] for page in await pages(client, **query) for session in page}


async def test_sessions_are_told_of_as_each_is_by_its_own_route(client: AsyncClient) -> None:
    await client.put(f"{URL}/plain", json={"ttl": None, "max_messages": 7})
    await client.post(f"{URL}/said/messages", json={"messages": [{}, {}]})
    await client.post(f"{URL}/state/state", json={"set": {"a": 1, "b": 2}})
    listed = [session for page in await pages(client) for session in page]

    expected = [(await client.get(f"{URL}/{name}")).json() for name in ("plain", "said", "state")]
    assert sorted(listed, key=lambda it: str(it["id"])) == expected


async def test_an_empty_namespace_is_an_empty_page(client: AsyncClient) -> None:
    answer = await client.get(URL)

    assert (answer.status_code, answer.content) == (200, b'{"sessions":[],"next":null}')
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ETag" not in answer.headers


async def test_a_head_has_the_headers_alone(api: AsyncClient) -> None:
    await make(api, "a")
    got, head = await api.get(URL), await api.head(URL)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(got.content))


@pytest.mark.parametrize("limit", ["1", "2", "100"])
async def test_the_pages_together_are_the_whole(client: AsyncClient, limit: str) -> None:
    names = [f"chat/{number}" for number in range(60)]
    await make(client, *names)
    found = await pages(client, limit=limit)

    assert all(len(page) <= int(limit) for page in found)
    assert {session["id"] for page in found for session in page} == set(names)


async def test_a_page_has_at_most_100_sessions_unless_a_limit_is_given(api: AsyncClient) -> None:
    await make(api, *map(str, range(130)))

    assert max(map(len, await pages(api))) <= 100
    assert [len(page) for page in await pages(api, limit="1000")] == [130]


async def test_a_page_ends_early_where_the_answer_would_be_too_large(start: Serve) -> None:
    limits = {"MAX_ANSWER_BYTES": "2048", "MAX_VALUE_BYTES": "512", "MAX_MESSAGE_BYTES": "512"}
    async with start(**limits) as api:
        names = {letter * 256 for letter in '"\\abcde'}
        await make(api, *names)
        found = await pages(api)

        assert max(map(len, found)) <= 2
        assert {session["id"] for page in found for session in page} == names


async def test_no_session_takes_more_bytes_than_are_reckoned_for_one(api: AsyncClient) -> None:
    url = f"{URL}/{'%22' * 256}"  # a quotation mark takes two bytes in JSON
    settings = {"ttl": 315_360_000, "max_age": 315_359_999.999, "max_messages": 1_000_000}
    await api.put(url, json={**settings, "touch": "access"})
    await api.post(f"{url}/messages", json={"messages": [{}] * 500})

    # What may still grow: a revision of up to 16 digits, and counts of 7.
    assert len((await api.get(URL)).content) < MOST_DOCUMENT_BYTES - 50


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", {"a", "a*", "a/b", "b", "\u00e9", "{a}"}),
        ("a", {"a", "a*", "a/b"}),
        ("a*", {"a*"}),
        ("[ab]", set()),
        ("{", {"{a}"}),
        ("a/", {"a/b"}),
        ("e\u0301", set()),
        ("x" * 256, set()),
    ],
)
async def test_a_prefix_is_taken_literally(
    api: AsyncClient, prefix: str, expected: set[str]
) -> None:
    await make(api, "a", "a*", "a/b", "b", "\u00e9", "{a}")

    assert await ids(api, prefix=prefix) == expected


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/query/limit"),
        ("limit=1001", "/query/limit"),
        ("limit=-1", "/query/limit"),
        ("limit=", "/query/limit"),
        ("limit=1.0", "/query/limit"),
        ("limit=%D9%A3", "/query/limit"),
        ("limit=" + "9" * 5_000, "/query/limit"),
        (f"prefix={'x' * 257}", "/query/prefix"),
        (f"prefix={'%C3%A9' * 129}", "/query/prefix"),
        ("prefix=%ff", "/query"),
        ("cursor=", "/query/cursor"),
        ("cursor=0", "/query/cursor"),
        ("cursor=nonsense", "/query/cursor"),
        ("cursor=%00", "/query/cursor"),
        ("cursor=%C3%A9", "/query/cursor"),
        ("cursor=" + "A" * 9_000, "/query/cursor"),
        ("cursor=" + "kZGR" * 2_000, "/query/cursor"),
        ("cursor=k_8AAKA%3D%3D%3D%3D", "/query/cursor"),
        ("after=x", "/query/after"),
        ("values=true", "/query/values"),
        ("prefix=a&prefix=a", "/query/prefix"),
        ("limit=1&limit=1", "/query/limit"),
    ],
)
async def test_a_query_that_cannot_be_read_is_refused(
    api: AsyncClient, query: str, pointer: str
) -> None:
    assert_problem(await api.get(f"{URL}?{query}"), 400, at=pointer)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_sessions_as_a_whole_can_only_be_listed(api: AsyncClient, method: str) -> None:
    refused = await api.request(method, URL)

    assert_problem(refused, 405)
    assert refused.headers["Allow"] == "GET, HEAD"


async def test_the_key_decides_what_is_listed(valkey: Server) -> None:
    one, two = Namespace("one"), Namespace("one-more")
    keyring = Keyring(
        [
            Credential("reader-of-one", Principal(one, Scope.RO)),
            Credential("writer-of-one", Principal(one, Scope.RW)),
            Credential("writer-of-two", Principal(two, Scope.RW)),
        ]
    )
    async with run_with_state(load_settings({"REDIS_URL": valkey.url}), keyring=keyring) as api:
        await make(api, "a", "b", "c", Authorization="Bearer writer-of-one")
        await make(api, "a", "d", Authorization="Bearer writer-of-two")
        assert_problem(await api.get(URL), 401)

        api.headers["Authorization"] = "Bearer reader-of-one"
        assert await ids(api) == {"a", "b", "c"}
        cursor = (await api.get(URL, params={"limit": "1"})).json()["next"]
        assert isinstance(cursor, str)
        api.headers["Authorization"] = "Bearer writer-of-two"
        assert await ids(api) == {"a", "d"}
        assert await ids(api, cursor=cursor) <= {"a", "d"}


async def test_a_listing_renews_nothing(api: AsyncClient, valkey: Server) -> None:
    await api.put(f"{URL}/a", json={"ttl": 60, "touch": "access"})
    with Redis.from_url(valkey.url) as redis:
        redis.eval(
            """
            local h = cmsgpack.unpack(redis.call('LINDEX', KEYS[1], 0))
            h[6] = h[6] - 5000
            redis.call('LSET', KEYS[1], 0, cmsgpack.pack(h))""",
            1,
            "b:{default:a}m",
        )
    listed = [(await api.get(URL)).json()["sessions"][0]["expires_at"] for _ in range(2)]
    renewed = (await api.get(f"{URL}/a")).json()["expires_at"]

    assert listed[0] == listed[1] < renewed


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("value", ["*", '"of-1"', "nonsense"])
async def test_conditions_say_nothing_about_a_listing(
    api: AsyncClient, name: str, value: str
) -> None:
    await make(api, "a")

    assert (await api.get(URL, headers={name: value})).status_code == 200


async def test_without_redis_a_listing_is_503() -> None:
    async with run_app(load_settings({})) as api:
        for headers in ({}, {"Cache-Control": "stale-if-error=60"}):
            response = await api.get(URL, headers=headers)
            assert assert_problem(response, 503)["outcome"] == "not_applied"
            assert int(response.headers["Retry-After"]) >= 1


async def test_a_redis_that_went_away_between_two_pages_is_503(own_server: Server) -> None:
    async with run_app(load_settings({"REDIS_URL": own_server.url})) as api:
        await make(api, *map(str, range(20)))
        cursor = (await api.get(URL, params={"limit": "1"})).json()["next"]
        own_server.kill()
        assert_problem(await api.get(URL, params={"cursor": cursor}), 503)
