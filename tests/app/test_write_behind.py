"""Prefer: respond-async: answered before Redis has it, written in order, once, and seen by all."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from httpx import AsyncClient, Response
from redis import Redis

from service import journal
from service.store.keys import session_keys
from tests.app.calls import COLD, MUTATIONS, PATTERN, READS, SESSION, RouteCall, make
from tests.conftest import Serve
from tests.polling import eventually
from tests.problems import assert_problem
from tests.servers import Server
from tests.store_calls import ref_of

ASYNC = {"Prefer": "respond-async"}
BEHIND = ("append", "batch", "put_value")
SET_WITH_GET = RouteCall("get too", "POST", f"{PATTERN}/state", b'{"set":{"k":2},"get":["k"]}')
NOT_BEHIND = [
    *(call for call in (MUTATIONS | READS).values() if call.does not in BEHIND),
    SET_WITH_GET,
]


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing leave the journal by itself."""
    monkeypatch.setattr(journal, "LINGER_SECONDS", 60.0)


@pytest.fixture
async def api(start: Serve, never: None) -> AsyncIterator[AsyncClient]:
    """Give a client of a service whose journal waits for somebody to ask; a session is there."""
    async with start() as api:
        await make(api)
        yield api
        await api.get(SESSION)  # the end would wait for what nobody has asked for


async def say(api: AsyncClient, *numbers: int, session: str = SESSION) -> None:
    for number in numbers:
        body = b'{"messages":[{"n":%d}]}' % number
        answer = await api.post(f"{session}/messages", content=body, headers=ASYNC)
        assert answer.status_code == 202


async def told(api: AsyncClient, session: str = SESSION) -> list[int]:
    page = (await api.get(f"{session}/messages?last=1000")).json()
    return [each["message"].get("n") for each in page["messages"]]


async def counters(api: AsyncClient) -> dict[str, int]:
    health = (await api.get("/health")).json()
    return {"bytes": health["hotTier"]["journalBytes"], **health["counters"]}


def assert_behind(answer: Response) -> None:
    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert answer.headers["Durability"] == "memory"
    assert "ETag" not in answer.headers


# What is answered


@pytest.mark.parametrize("does", BEHIND)
async def test_it_is_answered_without_what_only_redis_knows(api: AsyncClient, does: str) -> None:
    answer = await MUTATIONS[does].send(api, ASYNC)

    assert_behind(answer)
    bodies = {"append": b'{"count":1,"duplicates":[]}', "batch": b'{"values":{},"deleted":0}'}
    assert answer.content == bodies.get(does, b"")
    assert (await counters(api))["bytes"] > journal.QUEUE_BYTES


async def test_what_is_not_known_yet_is_null(api: AsyncClient) -> None:
    deduped = {"messages": [{"id": "x"}], "dedupe": "id"}
    appended = await api.post(f"{SESSION}/messages", json=deduped, headers=ASYNC)
    deleting = {"set": {"k": None, "new": 1}}
    written = await api.post(f"{SESSION}/state", json=deleting, headers=ASYNC)

    assert appended.json() == {"count": None, "duplicates": None}
    assert written.json() == {"values": {}, "deleted": None}
    assert list((await api.get(f"{SESSION}?include=state")).json()["state"]) == ["o", "new"]


@pytest.mark.parametrize("does", BEHIND)
@pytest.mark.parametrize("header", ["If-Match", "If-None-Match", "Lease-Token"])
async def test_what_only_redis_can_judge_is_400(api: AsyncClient, does: str, header: str) -> None:
    refused = await MUTATIONS[does].send(api, {**ASYNC, header: "*"})

    problem = assert_problem(refused, 400)
    assert problem["errors"][0]["pointer"] == "/headers/prefer"
    assert (await counters(api))["journalTaken"] == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/messages", b'{"messages":[1]}', 400),
        ("POST", "/messages", b'{"messages":[{}],"dedupe":""}', 400),
        ("POST", "/messages", b'{"messages":[{"t":"%s"}]}' % (b"x" * 1_100_000), 413),
        ("POST", "/state", b'{"set":{"k":NaN}}', 400),
        ("PUT", "/state/%ff", b"1", 400),
        ("PUT", "/state/k?key_ttl=x", b"1", 400),
    ],
)
async def test_what_is_wrong_is_told_before(
    api: AsyncClient, method: str, path: str, body: bytes, status: int
) -> None:
    refused = await api.request(method, SESSION + path, content=body, headers=ASYNC)

    assert_problem(refused, status)
    assert (await counters(api))["journalTaken"] == 0


@pytest.mark.parametrize("call", NOT_BEHIND, ids=lambda call: call.does)
async def test_on_other_calls_the_preference_is_ignored(api: AsyncClient, call: RouteCall) -> None:
    answer = await call.send(api, {**ASYNC, "If-Match": "*"})

    assert answer.is_success
    assert answer.status_code != 202
    assert "Preference-Applied" not in answer.headers
    assert (await counters(api))["journalTaken"] == 0


async def test_without_a_journal_and_for_what_is_large_it_is_ignored_too(start: Serve) -> None:
    large = {"messages": [{"text": "x" * 200_000}]}
    for megabytes, body in (("0", {"messages": [{}]}), ("1", large)):
        async with start(JOURNAL_MAX_MB=megabytes) as api:
            answer = await api.post(f"{SESSION}/messages", json=body, headers=ASYNC)
            assert answer.status_code == 201
            assert "Preference-Applied" not in answer.headers
            assert answer.headers["Durability"] == "redis+replay"
            answer = await api.post(
                f"{SESSION}/messages", json=body, headers={**ASYNC, "If-Match": '"x"'}
            )
            assert_problem(answer, 412)


# Who sees it


@pytest.mark.parametrize("call", READS.values(), ids=lambda call: call.does)
async def test_every_read_sees_what_waited(api: AsyncClient, call: RouteCall) -> None:
    assert (await call.send(api)).is_success  # memory holds it as it was
    await say(api, 4, 5)
    body = b'{"set":{"k":2},"ttl":60}'
    assert_behind(await api.post(f"{SESSION}/state", content=body, headers=ASYNC))
    answer = await call.send(api)

    assert (await counters(api))["bytes"] == 0
    assert answer.headers["Session-TTL"] == "60"
    assert answer.content == (await call.send(api, COLD)).content


async def test_a_listing_has_the_sessions_that_only_the_journal_had(api: AsyncClient) -> None:
    await say(api, 1, session="/v1/sessions/new")
    others = (await api.get("/v1/sessions?prefix=other")).json()["sessions"]
    assert (await counters(api))["bytes"] > 0  # nobody asked for it

    listing = asyncio.create_task(api.get("/v1/sessions?prefix=ne"))
    await asyncio.sleep(0)
    await api.get("/v1/sessions/new")
    assert others == []
    assert [each["id"] for each in (await listing).json()["sessions"]] == ["new"]


@pytest.mark.parametrize("call", MUTATIONS.values(), ids=lambda call: call.does)
async def test_every_write_comes_after_what_waited(api: AsyncClient, call: RouteCall) -> None:
    async def content(headers: dict[str, str]) -> object:
        await api.post(f"{SESSION}/messages", json={"messages": [{"n": 4}]}, headers=headers)
        await api.put(f"{SESSION}/state/z", json=0, headers=headers)
        assert (await call.send(api)).is_success
        found = (await api.get(f"{SESSION}?include=state,messages", headers=COLD)).json()
        # A copy has it too.
        copied = (await api.get("/v1/sessions/b?include=state")).json().get("state")
        texts = [each["message"] for each in found.get("messages", [])]
        return texts, found.get("state"), copied, found.get("ttl")

    behind = await content(ASYNC)
    await api.delete(SESSION)
    await api.delete("/v1/sessions/b")
    await make(api)

    assert await content({}) == behind


async def test_a_copy_onto_what_waits_finds_it_there(api: AsyncClient) -> None:
    await say(api, 1, session="/v1/sessions/b")

    assert_problem(await MUTATIONS["copy"].send(api), 409, "session_exists")


async def test_it_leaves_by_itself_and_in_few_calls(start: Serve) -> None:
    async with start() as api:
        await say(api, *range(50))

        async def figures() -> dict[str, int]:
            return await counters(api)

        found = await eventually(figures, lambda found: found["bytes"] == 0)
        assert (found["journalTaken"], found["journalWritten"]) == (50, 50)
        assert found["journalCalls"] < 50
        assert await told(api) == list(range(50))


async def relieve(api: AsyncClient, tier: str) -> dict[str, object]:
    levers = (await api.post("/v1/admin/relieve", json={"tier": tier})).json()["levers"]
    return {lever["name"]: lever["freedBytes"] for lever in levers}


@pytest.mark.parametrize("tier", ["standard", "emergency"])
async def test_memory_pressure_offloads_the_journal_first(
    start: Serve, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    monkeypatch.setattr(journal, "LINGER_SECONDS", 0.2)
    async with start() as api:
        await say(api, *range(20))
        held_bytes = (await counters(api))["bytes"]
        freed = await relieve(api, tier)

        assert (next(iter(freed)), freed["offload"]) == ("offload", held_bytes)
        assert (await counters(api))["bytes"] == 0
        assert await told(api) == list(range(20))


async def test_without_a_journal_there_is_nothing_to_offload(start: Serve) -> None:
    async with start(JOURNAL_MAX_MB="0") as api:
        assert "offload" not in await relieve(api, "standard")
        degraded = (await api.get("/health")).json()["memory"]["degraded"]
        assert "no_offload" not in degraded


# Keys


async def test_a_keyed_call_is_recognised_while_it_waits_and_after_it(api: AsyncClient) -> None:
    keyed = {**ASYNC, "Idempotency-Key": "k"}
    append = MUTATIONS["append"]
    first = await append.send(api, keyed)
    again = await append.send(api, keyed)
    other = await api.post(f"{SESSION}/messages", content=b'{"messages":[{},{}]}', headers=keyed)

    assert_behind(first)
    assert_behind(again)
    assert again.content == first.content
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert_problem(other, 422, "idempotency_key_reused")

    synchronous = await append.send(api, {"Idempotency-Key": "k"})
    assert synchronous.status_code == 201
    assert synchronous.headers["Idempotency-Replayed"] == "true"
    assert synchronous.json()["last_seq"] == 4
    assert_behind(await append.send(api, keyed))
    assert await told(api) == [1, 2, 3, None]
    assert (await counters(api))["journalRefused"] == 0


async def test_a_key_of_another_call_is_found_out_too_late(api: AsyncClient) -> None:
    await MUTATIONS["append"].send(api, {"Idempotency-Key": "k"})
    body = b'{"messages":[{},{}]}'
    late = await api.post(
        f"{SESSION}/messages", content=body, headers={**ASYNC, "Idempotency-Key": "k"}
    )

    assert_behind(late)
    assert await told(api) == [1, 2, 3, None]
    assert (await counters(api))["journalRefused"] == 1


# What Redis refuses


async def test_another_dedupe_member_is_counted_and_what_follows_is_written(
    api: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    for member in ("id", "name", "name"):
        body = {"messages": [{"id": "secret"}], "dedupe": member}
        assert_behind(await api.post(f"{SESSION}/messages", json=body, headers=ASYNC))
    await say(api, 4)

    assert await told(api) == [1, 2, 3, None, 4]
    assert (await counters(api))["journalRefused"] == 2
    lines = [each.getMessage() for each in caplog.records if each.name == "ballast.journal"]
    assert len(lines) == 1
    assert "dedupe_mismatch" in lines[0]
    assert "secret" not in lines[0]


async def test_a_foreign_key_of_its_name_keeps_nobody_else_waiting(
    api: AsyncClient, valkey: Server
) -> None:
    with Redis.from_url(valkey.url) as redis:
        redis.set(session_keys(ref_of("foreign")).log, "x")
    await say(api, 1, session="/v1/sessions/foreign")
    await say(api, 4)

    assert_problem(await api.get("/v1/sessions/foreign"), 503)
    assert await told(api) == [1, 2, 3, 4]
    found = await counters(api)
    assert (found["journalRefused"], found["bytes"]) == (1, 0)


async def test_what_fails_by_an_unknown_error_stays_and_holds_up_its_session_alone(
    api: AsyncClient, valkey: Server
) -> None:
    await say(api, 4)
    with Redis.from_url(valkey.url) as redis:
        log = session_keys(ref_of("a")).log
        header = redis.lindex(log, 0)
        redis.lset(log, 0, msgspec.msgpack.encode([99]))
        problem = assert_problem(await api.get(SESSION), 503)
        await say(api, 1, session="/v1/sessions/b")
        assert await told(api, "/v1/sessions/b") == [1]
        redis.lset(log, 0, header)

    assert problem["outcome"] == "not_applied"
    assert await told(api) == [1, 2, 3, 4]
    assert (await counters(api))["journalRefused"] == 0
