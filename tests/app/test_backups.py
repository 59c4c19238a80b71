"""The backup over HTTP: what is told of it, restoring, and the 404 that offers it."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

import pytest
from httpx import AsyncClient
from redis import Redis

from service import backups
from service.settings import load_settings
from service.store.keys import PREFIX, backup_key, session_keys
from tests.app.calls import COLD, SESSION, make
from tests.app.test_secrets import PASSWORD
from tests.conftest import Serve, run_app
from tests.contract.test_commands import calls_seen
from tests.polling import eventually
from tests.problems import assert_problem
from tests.servers import Server
from tests.store_calls import ref_of

BACKUP, RESTORE = f"{SESSION}/backup", f"{SESSION}/restore"
REF = ref_of("a")
ABSENT = {
    "session": ("GET", SESSION),
    "whole": ("GET", f"{SESSION}?include=state,messages"),
    "value": ("GET", f"{SESSION}/state/k"),
    "message": ("GET", f"{SESSION}/messages/1"),
    "patch": ("PATCH", SESSION),
    "copy": ("POST", f"{SESSION}/copy"),
}
EMPTY = {
    "state": ("GET", f"{SESSION}/state", b""),
    "messages": ("GET", f"{SESSION}/messages", b""),
    "batch": ("POST", f"{SESSION}/state", b'{"get":["k"]}'),
    "pop": ("DELETE", f"{SESSION}/messages?last=1", b""),
    "delete by prefix": ("DELETE", f"{SESSION}/state", b""),
}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for a copy."""
    monkeypatch.setattr(backups, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(backups, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(backups, "RETRY_SECONDS", 0.1)


@pytest.fixture
def redis(valkey: Server) -> Iterator[Redis]:
    with Redis.from_url(valkey.url) as client:
        yield client


async def copied(api: AsyncClient, *keys: str) -> dict[str, object]:
    """Wait until there is a copy with these keys."""

    async def found() -> dict[str, object]:
        document: dict[str, object] = (await api.get(BACKUP)).json()
        return document

    return await eventually(found, lambda document: document.get("keys") == len(keys))


def lose(redis: Redis) -> None:
    """Take the session away as an expiry would."""
    redis.delete(*session_keys(REF))


async def test_a_copy_is_told_of_and_brings_the_state_back(api: AsyncClient, redis: Redis) -> None:
    assert_problem(await api.get(BACKUP), 404, "backup_not_found")
    assert_problem(await api.post(RESTORE), 404, "backup_not_found")
    await make(api)
    told = await copied(api, "k", "o")
    assert told.keys() == {"at", "bytes", "keys"}
    assert told["bytes"] == redis.strlen(backup_key(REF))
    assert str(told["at"]).endswith("Z")
    assert_problem(await api.post(RESTORE), 409, "session_exists")
    assert_problem(await api.post(f"{RESTORE}?replace=false"), 409, "session_exists")
    lose(redis)

    restored = await api.post(RESTORE)
    assert restored.status_code == 201
    assert restored.json()["etag"] == restored.headers["ETag"]
    assert restored.headers["Durability"] == "redis+replay"
    assert "Session-TTL" in restored.headers
    assert (restored.json()["state_key_count"], restored.json()["message_count"]) == (2, 0)
    assert (await api.get(f"{SESSION}/state/o", headers=COLD)).content == b'{"x":1,"y":1.0}'
    assert (await api.get(SESSION)).json() == restored.json()


async def test_a_session_that_is_there_is_replaced_if_told_to(api: AsyncClient) -> None:
    await make(api)
    await copied(api, "k", "o")
    before = (await api.get(SESSION)).json()
    replaced = await api.post(f"{RESTORE}?replace=true")

    assert replaced.status_code == 200
    assert replaced.json()["message_count"] == 3
    assert replaced.json()["etag"] != before["etag"]
    assert (await api.get(f"{SESSION}/messages", headers=COLD)).json()["total"] == 3


@pytest.mark.parametrize("query", ["replace=yes", "replace=", "replace=true&replace=true", "x=1"])
async def test_a_query_that_cannot_be_read_is_400(api: AsyncClient, query: str) -> None:
    assert_problem(await api.post(f"{RESTORE}?{query}"), 400)
    assert_problem(await api.get(f"{BACKUP}?{query}"), 400)


async def test_conditions_and_leases_hold_for_restoring_too(api: AsyncClient) -> None:
    await make(api)
    await copied(api, "k", "o")
    replace = f"{RESTORE}?replace=true"
    assert_problem(await api.post(replace, headers={"If-Match": '"x-1"'}), 412)
    assert_problem(await api.post(replace, headers={"If-None-Match": "*"}), 412)
    assert_problem(await api.post(replace, headers={"Lease-Token": "x"}), 423, "wrong_lease")
    etag = (await api.get(SESSION)).headers["ETag"]
    assert (await api.post(replace, headers={"If-Match": etag})).status_code == 200


async def test_a_damaged_copy_is_a_problem_that_says_so(api: AsyncClient, redis: Redis) -> None:
    await make(api)
    await copied(api, "k", "o")
    lose(redis)
    redis.setrange(backup_key(REF).decode(), 40, b"xxxx")

    problem = assert_problem(await api.post(RESTORE), 422, "backup_damaged")
    assert problem["detail"] == "The backup is damaged: nothing was restored."
    assert_problem(await api.get(SESSION), 404)


# --- The 404 of a session that is gone -----------------------------------------------------------


async def ask(api: AsyncClient, does: str, *, backup: bool | None) -> None:
    method, path = ABSENT[does]
    body = {"to": "b"} if does == "copy" else {}
    answer = await api.request(method, path, json=None if method == "GET" else body)
    problem = assert_problem(answer, 404, "session_not_found")
    assert problem.get("backup") is backup
    assert ("restore" in problem["detail"]) is bool(backup)


@pytest.mark.parametrize("does", ABSENT)
async def test_what_is_gone_and_has_a_copy_says_so(
    api: AsyncClient, redis: Redis, does: str
) -> None:
    await ask(api, does, backup=None)
    await make(api)
    await copied(api, "k", "o")
    lose(redis)
    await eventually(lambda: api.get(SESSION), lambda answer: answer.status_code == 404)

    await ask(api, does, backup=True)
    await api.delete(SESSION)
    await ask(api, does, backup=None)
    assert redis.keys(PREFIX + b"*") == []


@pytest.mark.parametrize("does", ["session", "whole", "value", "message"])
async def test_a_read_of_what_is_gone_is_one_call(
    api: AsyncClient, redis: Redis, does: str
) -> None:
    method, path = ABSENT[does]
    await api.request(method, path)
    seen = await calls_seen(redis, api.request(method, path))
    assert [name for name in seen if name != "INFO"] == ["EVALSHA"]


@pytest.mark.parametrize("does", EMPTY)
async def test_what_answers_200_does_not_look_for_a_copy(
    api: AsyncClient, redis: Redis, does: str
) -> None:
    method, path, body = EMPTY[does]
    await api.request(method, path, content=body)
    with redis.monitor() as monitor:  # type: ignore[no-untyped-call] # redis-py has no types here
        answer = await api.request(method, path, content=body)
        redis.echo("the end")
        seen = []
        while (command := monitor.next_command()["command"]) != "ECHO the end":
            seen.append(command)
    assert answer.status_code == 200
    assert next(command for command in seen if command != "INFO").startswith("EVALSHA")
    assert not [command for command in seen if "}b" in command]


# --- Switches and a second server ----------------------------------------------------------------


async def test_switched_off_none_is_made_and_what_is_there_is_restored(
    start: Serve, redis: Redis
) -> None:
    async with start() as api:
        await make(api)
        await copied(api, "k", "o")
    async with start(ENABLE_SESSION_BACKUP="false") as api:
        await api.put(f"{SESSION}/state/new", content=b"1")
        lose(redis)
        await ask(api, "session", backup=True)
        restored = await api.post(RESTORE)
        assert restored.json()["state_key_count"] == 2
        counters = (await api.get("/health")).json()["counters"]
        assert counters["backupsWritten"] == 0
        await api.delete(SESSION)
    assert redis.keys(PREFIX + b"*") == []


async def test_copies_that_wait_are_made_at_the_end(
    start: Serve, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "QUIET_SECONDS", 60.0)
    async with start() as api:
        await make(api)
        assert not redis.exists(backup_key(REF))

    assert redis.exists(backup_key(REF))


def apart(valkey: Server, url: str) -> AbstractAsyncContextManager[AsyncClient]:
    return run_app(load_settings({"REDIS_URL": valkey.url, "BACKUP_REDIS_URL": url}))


async def test_a_second_server_has_the_copies(
    valkey: Server, redis: Redis, own_server: Server
) -> None:
    async with apart(valkey, own_server.url) as api:
        await make(api)
        await copied(api, "k", "o")
        assert not redis.exists(backup_key(REF))
        health = (await api.get("/health")).json()
        assert health["counters"]["backupsWritten"] >= 1
        lose(redis)
        await eventually(lambda: api.get(SESSION), lambda answer: answer.status_code == 404)
        for does in ABSENT:
            await ask(api, does, backup=True)
        assert (await api.post(RESTORE)).status_code == 201
        assert (await api.get(f"{SESSION}/state/k")).content == b"1"
        assert (await api.delete(SESSION)).status_code == 204
        for does in ABSENT:
            await ask(api, does, backup=None)


async def test_a_second_server_that_is_away_is_told_and_delays_nothing_else(
    valkey: Server, own_server: Server
) -> None:
    async with apart(valkey, own_server.url) as api:
        await make(api)
        await copied(api, "k", "o")
        own_server.kill()
        health = await eventually(
            lambda: api.get("/health"), lambda answer: answer.json()["status"] == "warn"
        )
        (warning,) = health.json()["warnings"]
        assert "BACKUP_REDIS_URL" in warning
        assert health.json()["databaseConnected"] is True
        refused = assert_problem(await api.delete(SESSION), 503)
        assert refused["outcome"] == "unknown"
        for does in ABSENT:
            await ask(api, does, backup=None)
        for answer in (await api.get(BACKUP), await api.post(RESTORE)):
            assert "BACKUP_REDIS_URL" in assert_problem(answer, 503)["detail"]


@pytest.mark.parametrize(
    "url", ["nonsense", f"redis://user:{PASSWORD}@planted.invalid:1/0", "redis://127.0.0.1:1/0"]
)
async def test_an_address_that_leads_nowhere_is_told_without_being_shown(
    valkey: Server, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with apart(valkey, url) as api:
        answers = [await make(api), await api.get(BACKUP), await api.get("/health")]
        health = answers[-1].json()
        assert health["status"] == "warn"
        assert [each for each in health["warnings"] if "BACKUP_REDIS_URL" in each]
    texts = [caplog.text, *(answer.text for answer in answers)]
    for secret in (PASSWORD, "planted.invalid", "nonsense", "127.0.0.1:"):
        assert not [text for text in texts if secret in text]


async def test_without_redis_the_routes_are_503(own_server: Server) -> None:
    async with run_app(load_settings({"REDIS_URL": own_server.url})) as api:
        await make(api)
        own_server.kill()
        await api.get(BACKUP)
        for answer in (await api.get(BACKUP), await api.post(RESTORE)):
            assert assert_problem(answer, 503)["outcome"] == "not_applied"
