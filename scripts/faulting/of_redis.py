"""Redis itself: dead, emptied, frozen, loading, full, refusing."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from scripts.benchmark.calls import request
from scripts.faulting.bots import Caller, append_call
from scripts.faulting.fault import Fault, Side
from scripts.faulting.ledger import Fate
from scripts.faulting.scene import TAKEN
from scripts.faulting.stage import Stage
from tests.polling import eventually
from tests.servers import HOST, Server, start_server

AOF = ("--appendonly", "yes", "--appendfsync", "everysec")
# What everysec has acknowledged may wait for a busy disk for up to 2 s, and a kill loses it then.
AOF_ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")
FSYNC_MS, LONG_FSYNC_MS = 300, 1_500
DIED_SECONDS = 1.0
"""Before the end of power: what everysec may not have brought to the disk yet."""

PAUSE_MS = 2_000
MANY_KEYS = 10_000
LOAD_DELAY_US = 100
MAX_CLIENTS = 20
CALLERS = 200
LARGE_BYTES = 3_000_000
LARGE_VALUES = 4
OLD_PASSWORD, NEW_PASSWORD = "known-to-the-service", "unknown-to-it"


@contextmanager
def operator(server: Server) -> Iterator[Redis]:
    """Give a client that is not the service's."""
    with Redis.from_url(server.url) as redis:
        yield redis


@asynccontextmanager
async def killed(stage: Stage) -> AsyncIterator[None]:
    """SIGKILL, and start again on what it has kept."""
    stage.server.kill()
    yield
    await asyncio.to_thread(stage.server.restart)


@asynccontextmanager
async def cut_off_power(stage: Stage) -> AsyncIterator[None]:
    """SIGKILL, and the end of the append-only file is gone."""
    file = max((stage.server.directory / "appendonlydir").glob("*.incr.aof"))
    size = file.stat().st_size
    await asyncio.sleep(DIED_SECONDS)
    stage.scene.answers.begin()
    stage.server.kill()
    with file.open("r+b") as log:
        log.truncate(size)
    yield
    await asyncio.to_thread(stage.server.restart)


@asynccontextmanager
async def slow_disk(stage: Stage) -> AsyncIterator[None]:
    """Each fsync takes its time, and nothing is answered before."""
    stage.knobs.turn(fsync_ms=FSYNC_MS)
    yield
    stage.knobs.turn()


@asynccontextmanager
async def killed_on_a_slow_disk(stage: Stage) -> AsyncIterator[None]:
    """SIGKILL while the system has not got what was acknowledged."""
    stage.knobs.turn(fsync_ms=LONG_FSYNC_MS)
    await asyncio.sleep(LONG_FSYNC_MS / 500)
    stage.scene.answers.begin()
    stage.server.kill()
    stage.knobs.turn()
    yield
    await asyncio.to_thread(stage.server.restart)


@asynccontextmanager
async def stopped(stage: Stage) -> AsyncIterator[None]:
    """SIGSTOP, SIGCONT."""
    stage.server.pause()
    yield
    stage.server.resume()


@asynccontextmanager
async def paused(stage: Stage) -> AsyncIterator[None]:
    """CLIENT PAUSE of all commands; nobody can end it early."""
    with operator(stage.server) as redis:
        redis.client_pause(PAUSE_MS)
        yield
        await asyncio.to_thread(redis.ping)


@asynccontextmanager
async def loading(stage: Stage) -> AsyncIterator[None]:
    """SIGKILL, and a start that has to read much first."""
    with operator(stage.server) as redis, redis.pipeline(transaction=False) as pipe:
        for number in range(MANY_KEYS):
            pipe.set(f"other:{number}", number)
        await asyncio.to_thread(pipe.execute)
    stage.scene.answers.begin()
    stage.server.kill()
    await asyncio.to_thread(
        stage.server.restart, *stage.server.options, "--key-load-delay", str(LOAD_DELAY_US)
    )
    yield


@asynccontextmanager
async def configured(stage: Stage, options: Mapping[str, str]) -> AsyncIterator[None]:
    """Set options, and set them back."""
    with operator(stage.server) as redis:
        before = {name: str(redis.config_get(name)[name]) for name in options}
        for name, value in options.items():
            redis.config_set(name, value)
        yield
        for name, value in before.items():
            redis.config_set(name, value)


def full(stage: Stage) -> AbstractAsyncContextManager[None]:
    """No memory is left, and nothing is evicted."""
    return configured(stage, {"maxmemory": "1"})


def without_replicas(stage: Stage) -> AbstractAsyncContextManager[None]:
    """Writes need a replica, and there is none."""
    return configured(stage, {"min-replicas-to-write": "1"})


@asynccontextmanager
async def evicting(stage: Stage) -> AsyncIterator[None]:
    """It evicts what it likes."""
    stage.scene.may_lose = None

    async def warnings() -> str:
        return " ".join((await asyncio.to_thread(stage.services[0].health))["warnings"])

    with operator(stage.server) as redis:
        used = str(redis.info("memory")["used_memory"])
    async with configured(stage, {"maxmemory-policy": "allkeys-lru", "maxmemory": used}):
        await eventually(warnings, lambda said: "allkeys-lru" in said)
        stage.scene.answers.begin()
        yield
    stage.scene.remarks.append("nothing is promised: /health warns, and names the policy")


@asynccontextmanager
async def failing_to_save(stage: Stage) -> AsyncIterator[None]:
    """A snapshot cannot be written (MISCONF)."""
    obstacle = Path(stage.server.directory, "dump.rdb")
    (obstacle / "in-the-way").mkdir(parents=True)
    async with configured(stage, {"save": "3600 1"}):
        with operator(stage.server) as redis:
            redis.bgsave()

            async def saved() -> object:
                return redis.info("persistence")["rdb_last_bgsave_status"]

            await eventually(saved, lambda status: status == "err")
        stage.scene.answers.begin()
        yield


@asynccontextmanager
async def locked(stage: Stage) -> AsyncIterator[None]:
    """Another password; who is connected is cut off."""
    with operator(stage.server) as redis:
        redis.config_set("requirepass", NEW_PASSWORD)
        redis.client_kill_filter(_type="normal", skipme=True)
        yield
        redis.config_set("requirepass", OLD_PASSWORD)


@asynccontextmanager
async def demoted(stage: Stage) -> AsyncIterator[None]:
    """A failover by hand makes it a replica; another one makes it the primary again."""
    replicates = ("--replicaof", f"{HOST} {stage.server.port}")
    with start_server("valkey", *replicates) as other:
        await fail_over(stage.server, other)
        stage.scene.answers.begin()
        yield
        await fail_over(other, stage.server)


async def fail_over(primary: Server, replica: Server) -> None:
    """Let a replica take over, when it has all."""
    with operator(primary) as old, operator(replica) as new:

        async def role() -> str:
            with suppress(RedisError):
                old.execute_command("FAILOVER", "TO", HOST, replica.port)  # type: ignore[no-untyped-call]
            return str(new.info("replication")["role"])

        await eventually(role, lambda role: role == "master", within_seconds=10)


@asynccontextmanager
async def crowded(stage: Stage) -> AsyncIterator[None]:
    """First 200 callers at once, then somebody else has the only place."""
    # A service comes back too soon for others to take the place that its connection has left.
    await call_at_once(stage)
    with operator(stage.server) as redis:
        redis.config_set("maxclients", 1)
        redis.client_kill_filter(_type="normal", skipme=True)
        stage.scene.answers.begin()
        yield
        redis.config_set("maxclients", MAX_CLIENTS)


@asynccontextmanager
async def few_connections(stage: Stage) -> AsyncIterator[None]:
    """200 callers at once, and large values in their way."""
    large = asyncio.create_task(put_large_values(stage))
    await call_at_once(stage)
    yield
    await large


async def put_large_values(stage: Stage) -> None:
    """Write what takes a while on the way."""
    caller, text = Caller(stage.scene), b'"%s"' % (b"x" * LARGE_BYTES)
    for number in range(LARGE_VALUES):
        path = f"/v1/sessions/large/state/{number}"
        await caller.call(stage.scene.ports[0], request("PUT", path, text))
    caller.close()


async def call_at_once(stage: Stage) -> None:
    """Let many callers call at once: all are served."""
    callers, began = [Caller(stage.scene) for _ in range(CALLERS)], time.monotonic()
    calls = (
        caller.fate(stage.scene.ports[0], append_call("of-the-crowd", number))
        for number, caller in enumerate(callers)
    )
    refused = sum(fate is not Fate.ACKNOWLEDGED for fate in await asyncio.gather(*calls))
    ms = (time.monotonic() - began) * 1e3
    for caller in callers:
        caller.close()
    stage.scene.remarks.append(f"{CALLERS} callers at once: all served within {ms:.0f} ms")
    stage.scene.expect(holds=refused == 0, otherwise=f"{refused} of {CALLERS} callers were refused")


NOT_APPLIED = "503 unavailable not_applied"
FAULTS = (
    Fault(
        name="kill-9",
        title="kill -9, restart with its append-only file (always)",
        act=killed,
        options=AOF_ALWAYS,
        shows=NOT_APPLIED,
    ),
    Fault(
        name="back-empty",
        title="kill -9, back empty",
        act=killed,
        shows=NOT_APPLIED,
        processes=(1, 3),
        needs_replay=True,
    ),
    Fault(
        name="power-cut",
        title="append-only file cut to what it was 1 s before",
        act=cut_off_power,
        options=AOF,
        shows=NOT_APPLIED,
        processes=(1, 3),
        needs_replay=True,
    ),
    Fault(
        name="slow-disk",
        title="slow disk: an fsync of 0.3 s before each answer",
        act=slow_disk,
        options=AOF_ALWAYS,
        shows=TAKEN,
        needs_shim=Side.REDIS,
        added_ms=2 * FSYNC_MS,
    ),
    Fault(
        name="slow-disk-kill",
        title="slow disk (fsync 1.5 s behind the answers), then kill -9",
        act=killed_on_a_slow_disk,
        options=AOF,
        shows=NOT_APPLIED,
        needs_shim=Side.REDIS,
        processes=(1, 3),
        needs_replay=True,
    ),
    Fault(
        name="sigstop",
        title="frozen (SIGSTOP)",
        act=stopped,
        seconds=2.5,
        shows="503 unavailable unknown",
    ),
    Fault(name="client-pause", title="CLIENT PAUSE 2 s", act=paused, shows="503 unavailable"),
    Fault(
        name="loading",
        title="restart with much to load",
        act=loading,
        options=AOF_ALWAYS,
        shows="loading its data",
    ),
    Fault(name="full", title="maxmemory, noeviction", act=full, shows="507 redis_full"),
    Fault(name="evicting", title="maxmemory, allkeys-lru", act=evicting),
    Fault(
        name="maxclients",
        title="maxclients 20: 200 callers, then no place left",
        act=crowded,
        options=("--maxclients", str(MAX_CLIENTS)),
        shows="client limit",
    ),
    Fault(
        name="one-connection",
        title="REDIS_MAX_CONNECTIONS=1, 200 callers",
        act=few_connections,
        environ={"REDIS_MAX_CONNECTIONS": "1"},
        shows=TAKEN,
    ),
    Fault(
        name="readonly",
        title="READONLY after a failover",
        act=demoted,
        options=("--repl-diskless-sync-delay", "0"),
        shows="read-only",
    ),
    Fault(name="noreplicas", title="NOREPLICAS", act=without_replicas, shows="too few replicas"),
    Fault(name="misconf", title="MISCONF", act=failing_to_save, shows="cannot write to its disk"),
    Fault(
        name="password",
        title="password rotated",
        act=locked,
        options=("--requirepass", OLD_PASSWORD),
        shows="refused the password",
    ),
)
