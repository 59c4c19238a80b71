"""Keys of several namespaces and scopes: what each reaches, and that nothing leaks between them."""

import json
from urllib.parse import quote

import pytest
from httpx import AsyncClient, Response

from service.access import Scope
from service.http.routes import API_ROUTES
from tests.app.calls import plant_backup
from tests.conftest import Serve
from tests.problems import assert_problem
from tests.servers import Server
from tests.store_calls import ref_of

PLANTED = "planted-in-one"
URL = "/v1/sessions/a"
PARAMETERS = {"{id}": "a", "{key}": PLANTED, "{seq}": "1"}
OF_ONE = ref_of("a", "one")
API_KEY = "key-of-default"
API_KEYS = "one:rw:writer-of-one, one:ro:reader-of-one, two:admin:admin-of-two, three:ro:three-ro,"

ROUTES = sorted((method, path) for path, methods in API_ROUTES.items() for method in methods)
WRITES = sorted(
    (method, path)
    for path, methods in API_ROUTES.items()
    for method, endpoint in methods.items()
    if endpoint.scope >= Scope.RW
)
BODIES = {
    ("PUT", "/v1/sessions/{id}"): b'{"max_messages":7}',
    ("PATCH", "/v1/sessions/{id}"): b'{"max_messages":7}',
    ("POST", "/v1/sessions/{id}/copy"): b'{"to":"fork"}',
    ("PUT", "/v1/sessions/{id}/messages"): b'{"messages":[{"from":"two"}]}',
    ("POST", "/v1/sessions/{id}/messages"): b'{"messages":[{"from":"two"}]}',
    ("POST", "/v1/sessions/{id}/state"): b'{"get":["%b"],"set":{"k":2}}' % PLANTED.encode(),
    ("PUT", "/v1/sessions/{id}/state/{key}"): b'"of two"',
}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def call(api: AsyncClient, key: str, method: str, pattern: str) -> Response:
    path = pattern
    for name, text in PARAMETERS.items():
        path = path.replace(name, text)
    body = b"" if method in {"GET", "HEAD"} else BODIES.get((method, pattern), b"{}")
    return await api.request(method, path, content=body, headers=bearer(key))


async def plant(api: AsyncClient) -> None:
    """Make a session of namespace one with a value and a message that can be recognised."""
    headers = bearer("writer-of-one")
    value = await api.put(f"{URL}/state/{PLANTED}", json=PLANTED, headers=headers)
    messages = {"messages": [{"text": PLANTED}]}
    message = await api.post(f"{URL}/messages", json=messages, headers=headers)
    assert (value.status_code, message.status_code) == (201, 201)


async def planted(api: AsyncClient) -> str:
    params = {"include": "state,messages"}
    answer = await api.get(URL, params=params, headers=bearer("reader-of-one"))
    assert answer.text.count(PLANTED) == 3  # the key, the value, the message
    return answer.text


@pytest.mark.parametrize(("method", "pattern"), ROUTES)
async def test_no_route_reaches_into_another_namespace(
    start: Serve, valkey: Server, method: str, pattern: str
) -> None:
    async with start(API_KEYS=API_KEYS, API_KEY=API_KEY) as api:
        await plant(api)
        await plant_backup(valkey.url, OF_ONE, {PLANTED: b"1"})
        before = await planted(api)
        for key in ("admin-of-two", API_KEY):
            answer = await call(api, key, method, pattern)
            assert answer.status_code in {200, 201, 204, 400, 403, 404}
            # A batch names the keys that it was asked for.
            assert f'"{PLANTED}":null' in answer.text or PLANTED not in answer.text
        assert await planted(api) == before


@pytest.mark.parametrize(("method", "pattern"), WRITES)
async def test_a_key_that_reads_may_not_write(start: Serve, method: str, pattern: str) -> None:
    async with start(API_KEYS=API_KEYS) as api:
        await plant(api)
        before = await planted(api)
        for key in ("reader-of-one", "three-ro"):
            problem = assert_problem(await call(api, key, method, pattern), 403, "forbidden")
            assert problem["detail"] == "This key is ro: it may not do this."
        assert await planted(api) == before


async def test_a_key_that_reads_reads_everything(start: Serve, valkey: Server) -> None:
    reads = [(method, path) for method, path in ROUTES if method in {"GET", "HEAD"}]
    async with start(API_KEYS=API_KEYS) as api:
        await plant(api)
        await plant_backup(valkey.url, OF_ONE, {PLANTED: b"1"})
        for method, pattern in reads:
            if API_ROUTES[pattern][method].scope is Scope.RO:
                assert (await call(api, "reader-of-one", method, pattern)).status_code == 200


@pytest.mark.parametrize(
    ("body", "is_read"),
    [
        ('{"get":["k"]}', True),
        ('{"get":["k"],"set":{}}', True),
        ('{"get":["k"],"set":{"k":1}}', False),
        ('{"get":["k"],"set":{"k":null}}', False),
        ('{"get":["k"],"merge":{}}', True),
        ('{"get":["k"],"merge":{"k":{}}}', False),
        ('{"get":["k"],"ttl":5}', False),
        ('{"set":{"k":1}}', False),
        ("{}", False),
    ],
)
async def test_a_batch_that_only_gets_is_a_read(start: Serve, body: str, *, is_read: bool) -> None:
    async with start(API_KEYS=API_KEYS) as api:
        await plant(api)
        before = await planted(api)
        answer = await api.post(f"{URL}/state", content=body, headers=bearer("reader-of-one"))
        if is_read:
            assert answer.json()["values"] == {"k": None}
        else:
            assert_problem(answer, 403, "forbidden")
        assert await planted(api) == before


async def test_admin_includes_reading_and_writing(start: Serve) -> None:
    async with start(API_KEYS=API_KEYS) as api:
        for method, pattern in sorted(ROUTES, reverse=True):  # PUT first, DELETE last
            answer = await call(api, "admin-of-two", method, pattern)
            assert answer.status_code not in {401, 403}


async def test_keys_of_one_namespace_share_its_sessions(start: Serve) -> None:
    async with start(API_KEYS="default:ro:reader", API_KEY=API_KEY) as api:
        await api.put(f"{URL}/state/k", content=b"1", headers=bearer(API_KEY))
        assert (await api.get(f"{URL}/state/k", headers=bearer("reader"))).content == b"1"


async def test_a_copy_stays_in_its_namespace(start: Serve) -> None:
    async with start(API_KEYS=API_KEYS) as api:
        await plant(api)
        before = await planted(api)
        two = bearer("admin-of-two")
        assert_problem(await api.post(f"{URL}/copy", json={"to": "b"}, headers=two), 404)
        await api.put("/v1/sessions/b", headers=two)
        for name in ("a", "one:a", "one/a"):  # none of them is the session of one
            copied = await api.post("/v1/sessions/b/copy", json={"to": name}, headers=two)
            assert (copied.status_code, copied.json()["message_count"]) == (201, 0)
        assert await planted(api) == before


async def test_the_listing_tells_of_the_callers_namespace_alone(start: Serve) -> None:
    names = ["{one}", "one:a", "*", "a/b", "\u00e9", 'q"\\']
    async with start(API_KEYS=API_KEYS, API_KEY=API_KEY) as api:
        await plant(api)
        for name in names:
            url = f"/v1/sessions/{quote(name, safe='')}"
            assert (await api.put(url, headers=bearer("admin-of-two"))).status_code == 201
        for key, expected in (
            ("admin-of-two", set(names)), ("reader-of-one", {"a"}), (API_KEY, set()),
            ("three-ro", set()),
        ):  # fmt: skip
            for query in ("", "?prefix=", "?limit=1000"):
                listed = await api.get(f"/v1/sessions{query}", headers=bearer(key))
                assert {session["id"] for session in listed.json()["sessions"]} == expected
        stolen = (await api.get("/v1/sessions?limit=1", headers=bearer("admin-of-two"))).json()
        cursor = {"cursor": stolen["next"]} if stolen["next"] else {}
        told = await api.get("/v1/sessions", params=cursor, headers=bearer("three-ro"))
        assert not [name for name in names if json.dumps(name) in told.text]


async def test_equal_ids_of_two_namespaces_live_apart(start: Serve) -> None:
    async with start(API_KEYS=API_KEYS, API_KEY=API_KEY) as api:
        keys = ("writer-of-one", "admin-of-two", API_KEY)
        for key in keys:
            await api.put(f"{URL}/state/k", json=key, headers=bearer(key))
        assert (await api.delete(URL, headers=bearer("admin-of-two"))).status_code == 204
        found = [await api.get(f"{URL}/state/k", headers=bearer(key)) for key in keys]
        assert [each.status_code for each in found] == [200, 404, 200]
        assert [found[0].json(), found[2].json()] == ["writer-of-one", API_KEY]


@pytest.mark.parametrize("key", ["writer-of-on", "writer-of-onee", "one:rw:writer-of-one", ""])
async def test_without_a_known_key_no_answer_tells_what_there_is(start: Serve, key: str) -> None:
    paths = (URL, f"{URL}/state", "/v1/sessions/none", "/v1/nothing", "/v1/", "/v1/sessions/%00")
    async with start(API_KEYS=API_KEYS, API_KEY=API_KEY) as api:
        await plant(api)
        answers = [
            await api.request(method, path, headers=bearer(key) | {"X-Request-Id": "same"})
            for path in paths
            for method in ("GET", "PUT", "BREW")
        ]
        for answer in answers:
            assert_problem(answer, 401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert "Allow" not in answer.headers
        assert len({(answer.text, repr(answer.headers)) for answer in answers}) == 1


async def test_keys_of_api_keys_alone_close_a_bind_to_strangers(start: Serve) -> None:
    for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 # never bound
        async with start(API_KEYS=API_KEYS, HOST=host) as api:
            assert_problem(await api.get(URL), 401, "unauthorized")
            assert (await api.put(URL, headers=bearer("writer-of-one"))).is_success
            warnings = (await api.get("/health")).json()["warnings"]
            assert not [warning for warning in warnings if "API_KEY" in warning]
