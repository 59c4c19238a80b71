"""Calls as large as the limits allow, and the longest time that one script of each held Redis.

The time is that of SLOWLOG: of one script, inside the server, without the way there and back.
"""

import asyncio
import json
import statistics
from dataclasses import dataclass

from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient, Response
from redis import Redis

from service.app import create_app
from service.settings import load_settings
from tests.conftest import FLAVOURS
from tests.servers import Flavour, start_server

RUNS = 7
SLOWLOG_LENGTH = 128
SLOW_US = 100
"""What is faster is not logged: Valkey logs the commands inside of scripts too."""

KEYS, VALUE_BYTES, MANY_KEYS = 5_000, 3_200, 30_000
BIG_VALUE_BYTES = 4_194_300
BIG_MESSAGE_BYTES = 1_048_500
SMALL_BYTES = 160
LONG_LOG = 500_000
COLD = {"Cache-Control": "no-cache"}


@dataclass(frozen=True, slots=True)
class Case:
    """One call; `{run}` in its path and body is the number of the run, each has its own session."""

    shown: str
    size: str
    path: str
    body: object = None

    async def call(self, client: AsyncClient, run: int) -> Response:
        """Make the call."""
        method, path = self.shown.split()[0], self.path.replace("{run}", str(run))
        if self.body is None:
            return await client.request(method, path, headers=COLD)
        content = json.dumps(self.body).replace("{run}", str(run)).encode()
        return await client.request(method, path, content=content, headers=COLD)


def text(count: int, salt: int = 0) -> str:
    """Return so many bytes; texts of different salts are different from beginning to end."""
    return (f"{salt:08x}" * (count // 8 + 1))[:count]


def small_messages(count: int) -> list[dict[str, object]]:
    """Return messages of about 200 bytes."""
    return [{"id": i, "text": text(SMALL_BYTES, i)} for i in range(count)]


BIG_MESSAGES = [{"text": text(BIG_MESSAGE_BYTES, i)} for i in range(15)]
MIDDLE_MESSAGES = [{"text": text(33_000, i)} for i in range(500)]
VALUES = {f"k{i}": text(VALUE_BYTES, i) for i in range(KEYS)}
SMALL_VALUES = {f"k{i}": text(SMALL_BYTES, i) for i in range(KEYS)}
BIG_VALUES = {f"v{i}": text(BIG_VALUE_BYTES, i) for i in range(3)}
GETS = list(VALUES)[:4_900]

SID = "/v1/sessions"
LONG, BIG, STATE = f"{SID}/long/messages", f"{SID}/big{{run}}/messages", f"{SID}/state{{run}}/state"
SMALL_STATE = f"{SID}/small{{run}}/state"

CASES = (
    Case("POST messages", "15 of 1 MiB", BIG, {"messages": BIG_MESSAGES}),
    Case("GET messages", "15 MiB", f"{SID}/big0/messages?last=1000"),
    Case("DELETE messages", "15 MiB", BIG),
    Case("POST messages", "500 of 33 KB", BIG, {"messages": MIDDLE_MESSAGES}),
    Case("POST copy", "500 messages of 33 KB", f"{SID}/big0/copy", {"to": "copy{run}"}),
    Case(
        "PUT messages",
        "5,000 of 200 B",
        BIG,
        {"messages": small_messages(5_000), "dedupe": "id", "max_messages": 5_000},
    ),
    Case(
        "POST messages",
        "500 duplicates",
        BIG,
        {"messages": small_messages(5_000)[-500:], "dedupe": "id"},
    ),
    Case("GET messages", "1,000 of 5,000", f"{SID}/big0/messages?after=2500&limit=1000"),
    Case("GET messages/{seq}", "middle of 500,000", f"{LONG}/250000"),
    Case("DELETE messages/{seq}", "middle of 500,000", f"{LONG}/25000{{run}}"),
    Case("DELETE messages?last=", "1,000 of 500,000", f"{LONG}?last=1000"),
    Case("DELETE messages?before=", "50,000 of 500,000", f"{LONG}?before={{run}}50000"),
    Case("POST state", "set 5,000 of 3.2 KB", STATE, {"set": VALUES}),
    Case("POST state", "get 4,900 of 3.2 KB", STATE, {"get": GETS}),
    Case("POST state", "set 1, get 4,900 of 3.2 KB", STATE, {"set": {"k1": 1}, "get": GETS}),
    Case("GET ?include=state", "5,000 of 3.2 KB", f"{SID}/state0?include=state"),
    Case("POST copy", "5,000 values of 3.2 KB", f"{SID}/state0/copy", {"to": "fork{run}"}),
    Case("POST state", "set 3 of 4 MiB", f"{SID}/values{{run}}/state", {"set": BIG_VALUES}),
    Case(
        "POST state",
        "set 1 of 4 MiB",
        f"{SID}/value{{run}}/state",
        {"set": {"v": BIG_VALUES["v0"]}},
    ),
    Case("POST state", "set 5,000 of 160 B", SMALL_STATE, {"set": SMALL_VALUES}),
    Case("POST state", "the same with key_ttl", SMALL_STATE, {"set": SMALL_VALUES, "key_ttl": 600}),
    Case(
        "POST state", "merge 5,000", SMALL_STATE, {"merge": {key: {"a": 1} for key in SMALL_VALUES}}
    ),
    Case("DELETE state?prefix=", "5,000 keys", f"{SMALL_STATE}?prefix=k"),
    Case("GET state", "30,000 names", f"{SID}/names/state"),
    Case("GET sessions", "1,000 of 5,000", f"{SID}?limit=1000"),
)


async def prepare(client: AsyncClient) -> None:
    """Make the sessions that are too large for one call."""
    await client.put(f"{SID}/long", json={"max_messages": LONG_LOG})
    content = json.dumps({"messages": small_messages(500)}).encode()
    for _ in range(LONG_LOG // 500):
        await client.post(LONG, content=content)
    for part in range(MANY_KEYS // KEYS):
        values = {f"{part}-{key}": 1 for key in SMALL_VALUES}
        await client.post(f"{SID}/names/state", json={"set": values})
    for number in range(5_000):
        await client.put(f"{SID}/listed-{number}")


async def measure(case: Case, client: AsyncClient, redis: Redis) -> str:
    """Return what the longest script of a call took: median and worst of the runs, in ms."""
    longest: list[float] = []
    calls = 0
    for run in range(RUNS):
        redis.slowlog_reset()
        redis.config_resetstat()
        answer = await case.call(client, run)
        assert answer.is_success, (case, answer.text[:200])
        calls = script_calls(redis)
        entries = redis.slowlog_get(SLOWLOG_LENGTH)
        scripts = [e["duration"] / 1000 for e in entries if e["command"].startswith(b"EVAL")]
        longest.append(max(scripts, default=0.0))
    return f"{calls} | {statistics.median(longest):.1f} | {max(longest):.1f}"


def script_calls(redis: Redis) -> int:
    """Return how many scripts ran since the figures were reset, but for those it did not know."""
    stats = redis.info("commandstats")
    known = [stats[name] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats]
    return sum(each["calls"] - each["failed_calls"] for each in known)


async def rows(flavour: Flavour) -> list[str]:
    """Measure all cases on one server."""
    with start_server(flavour) as server, Redis.from_url(server.url) as redis:
        app = create_app(load_settings({"REDIS_URL": server.url, "MEMORY_QUOTA_MB": "4096"}))
        async with LifespanManager(app) as manager:
            transport = ASGITransport(app=manager.app)
            async with AsyncClient(transport=transport, base_url="http://localhost") as client:
                await prepare(client)
                redis.config_set("slowlog-log-slower-than", SLOW_US)
                redis.config_set("slowlog-max-len", SLOWLOG_LENGTH)
                return [await measure(case, client, redis) for case in CASES]


def main() -> None:
    """Print the table of docs/limits.md."""
    found = [asyncio.run(rows(flavour)) for flavour in FLAVOURS]
    for case, *measured in zip(CASES, *found, strict=True):
        print(f"| `{case.shown}` | {case.size} | {' | '.join(measured)} |")


if __name__ == "__main__":
    main()
