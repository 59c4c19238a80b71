"""Headers of requests and answers, methods, and content types."""

import pytest
from httpx import AsyncClient

from tests.app.calls import MUTATIONS, READS, SESSION, everything, make
from tests.problems import assert_problem

READ_PATHS = tuple(call.path() for call in READS.values())
JSON_ROUTES = tuple(
    (call.method, call.path(), call.body)
    for call in MUTATIONS.values()
    if call.body and call.does != "put_value"
)
NO_QUERY = sorted(MUTATIONS.keys() - {"put_value", "delete_state", "clear", "pop", "trim"})


@pytest.mark.parametrize("sent", ["abc", "a.b_c:d-1", "x" * 128])
async def test_a_sane_request_id_is_returned(api: AsyncClient, sent: str) -> None:
    for path in (SESSION, "/health", "/nothing"):
        response = await api.get(path, headers={"X-Request-Id": sent})
        assert response.headers["X-Request-Id"] == sent


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "a\u00e9", "<script>", "a,b"])
async def test_another_request_id_is_replaced(api: AsyncClient, sent: str) -> None:
    headers = {b"X-Request-Id": sent.encode("latin-1")}
    made = {(await api.get(SESSION, headers=headers)).headers["X-Request-Id"] for _ in range(2)}

    assert len(made) == 2
    assert sent not in made


async def test_no_answer_of_the_api_may_be_stored(api: AsyncClient) -> None:
    answers = [await api.request(method, path, content=body) for method, path, body in JSON_ROUTES]
    answers += [await api.put(f"{SESSION}/state/k", content=b"1")]
    answers += [await api.get(path) for path in READ_PATHS]
    answers += [await api.get("/v1/nothing"), await api.get("/v1/sessions/%00")]
    answers += [await api.post(SESSION), await api.delete(SESSION), await api.get(SESSION)]

    assert {answer.headers.get("Cache-Control") for answer in answers} == {"no-store"}


async def test_acknowledged_writes_say_what_they_survive_and_reads_do_not(
    api: AsyncClient,
) -> None:
    await make(api)
    reads = [await call.send(api) for call in READS.values()]
    assert {read.headers.get("Durability") for read in reads} == {None}
    assert {read.headers.get("Age") for read in reads} == {None}
    assert all("Session-Expires" in read.headers for read in reads)
    assert all("Idempotency-Replayed" not in read.headers for read in reads)

    for does, call in MUTATIONS.items():
        await api.delete("/v1/sessions/b")
        await make(api)
        for _ in range(1 if does in {"copy", "delete_session"} else 2):
            write = await call.send(api)
            assert write.is_success, does
            assert write.headers["Durability"] == "redis+replay"
            assert ("Session-Expires" in write.headers) is (does != "delete_session")
            assert "Idempotency-Replayed" not in write.headers
        gone = [await api.delete(SESSION), await api.delete(SESSION), await call.send(api)]
        told = {each.headers.get("Durability") for each in gone if each.is_success}
        assert "redis+replay" in told <= {"redis", "redis+replay"}


async def test_head_is_get_without_the_body(wire: AsyncClient) -> None:
    await make(wire)
    changing = {"date", "x-request-id"}

    for path in (*READ_PATHS, "/health/live", "/v1/sessions/none", "/v1/sessions/%00"):
        got, headed = await wire.get(path), await wire.head(path)
        assert (headed.status_code, headed.content) == (got.status_code, b"")
        for name in got.headers.keys() - changing:
            assert headed.headers[name] == got.headers[name]


async def test_304_has_no_body_on_the_wire(wire: AsyncClient) -> None:
    etag = (await wire.put(SESSION)).headers["ETag"]

    for _ in range(2):
        response = await wire.get(SESSION, headers={"If-None-Match": etag})
        assert (response.status_code, response.content) == (304, b"")


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "Application/JSON; charset=utf-8", "application/x+json", "", None],
)
@pytest.mark.parametrize(("method", "path", "body"), JSON_ROUTES)
async def test_json_may_be_called_so_or_nothing(
    api: AsyncClient, method: str, path: str, body: bytes, media_type: str | None
) -> None:
    await make(api)
    headers = {} if media_type is None else {"Content-Type": media_type}

    assert (await api.request(method, path, content=body, headers=headers)).is_success


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "json"])
@pytest.mark.parametrize(("method", "path", "body"), JSON_ROUTES)
async def test_another_content_type_is_told_which_header_to_send(
    api: AsyncClient, method: str, path: str, body: bytes, media_type: str
) -> None:
    response = await api.request(method, path, content=body, headers={"Content-Type": media_type})
    problem = assert_problem(response, 415, "unsupported_media_type")

    assert "Content-Type: application/json" in problem["detail"]
    assert_problem(await api.get(SESSION), 404)


async def test_a_body_has_one_content_type(api: AsyncClient) -> None:
    twice = [("Content-Type", "application/json")] * 2
    for method, path, body in (*JSON_ROUTES, ("PUT", f"{SESSION}/state/k", b"1")):
        response = await api.request(method, path, content=body, headers=twice)
        assert_problem(response, 400, at="/headers/content-type")
    assert_problem(await api.get(SESSION), 404)


async def test_a_compressed_body_is_refused(api: AsyncClient) -> None:
    headers = {"Content-Encoding": "gzip"}
    for method, path, body in (*JSON_ROUTES, ("PUT", f"{SESSION}/state/k", b"")):
        response = await api.request(method, path, content=body, headers=headers)
        assert "Content-Encoding" in assert_problem(response, 415)["detail"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (SESSION, "DELETE, GET, HEAD, PATCH, PUT"),
        ("/v1/sessions", "GET, HEAD"),
        (f"{SESSION}/copy", "POST"),
        (f"{SESSION}/state", "DELETE, GET, HEAD, POST"),
        (f"{SESSION}/state/k", "DELETE, GET, HEAD, PUT"),
        (f"{SESSION}/messages", "DELETE, GET, HEAD, POST, PUT"),
        (f"{SESSION}/messages/1", "DELETE, GET, HEAD"),
        (f"{SESSION}/messages/nonsense", "DELETE, GET, HEAD"),
        (f"{SESSION}/lease", "DELETE, PATCH, POST"),
        ("/health", "GET, HEAD"),
        ("/health/live", "GET, HEAD"),
        ("/health/ready", "GET, HEAD"),
    ],
)
async def test_other_methods_are_told_which_there_are(
    api: AsyncClient, path: str, allowed: str
) -> None:
    for method in {"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} - set(
        allowed.split(", ")
    ):
        response = await api.request(method, path)
        assert_problem(response, 405, "method_not_allowed")
        assert response.headers["Allow"] == allowed


async def test_too_many_header_lines_are_431(api: AsyncClient) -> None:
    lines = [(f"X-{number}", "1") for number in range(101)]
    for path in (SESSION, "/health"):
        assert assert_problem(await api.get(path, headers=lines), 431)["limit"] == 100
        assert (await api.get("/health", headers=lines[:90])).status_code == 200


async def test_too_many_bytes_of_headers_are_431(wire: AsyncClient) -> None:
    response = await wire.get(SESSION, headers={"X-Long": "x" * 65_536})

    assert assert_problem(response, 431, "headers_too_large")["limit"] == 65_536
    assert (await wire.get("/health", headers={"X-Long": "x" * 60_000})).status_code == 200


@pytest.mark.parametrize("path", READ_PATHS)
async def test_an_unknown_query_parameter_is_refused(api: AsyncClient, path: str) -> None:
    separator = "&" if "?" in path else "?"
    assert_problem(await api.get(f"{path}{separator}x/y=1"), 400, at="/query/x~1y")


@pytest.mark.parametrize("does", MUTATIONS)
async def test_a_write_takes_no_query_that_it_does_not_know(api: AsyncClient, does: str) -> None:
    await make(api)
    before, call = await everything(api), MUTATIONS[does]
    separator = "&" if call.query else "?"

    for query in ("dry_run=1", "limit=1", "prefix" if does in NO_QUERY else "values=true"):
        path = f"{call.path()}{separator}{query}"
        response = await api.request(call.method, path, content=call.body)
        assert_problem(response, 400, at=f"/query/{query.partition('=')[0]}")
    assert await everything(api) == before


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("DELETE", "state", "prefix"),
        ("PUT", "state/k", "key_ttl"),
        ("DELETE", "messages", "last"),
        ("DELETE", "messages", "before"),
        ("GET", "messages", "max_bytes"),
        ("GET", "messages", "id"),
        ("GET", "state", "after"),
    ],
)
async def test_a_query_parameter_is_given_once(
    api: AsyncClient, method: str, path: str, name: str
) -> None:
    await make(api)
    before = await everything(api)

    response = await api.request(method, f"{SESSION}/{path}?{name}=1&{name}=1", content=b"1")
    assert_problem(response, 400, at=f"/query/{name}")
    assert await everything(api) == before
