"""Several servers, several services: who takes over, and what is there then."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis import Redis
from redis.exceptions import RedisError

from scripts.faulting.fault import Fault, Layout
from scripts.faulting.of_redis import killed, operator
from scripts.faulting.stage import PROBED, Stage, keys_of
from tests.clusters import Clustered
from tests.polling import eventually
from tests.sentinels import NAME
from tests.servers import HOST, Server

TAIL_SECONDS = 0.3
"""Shorter than what the sentinels bear before they take a server for dead."""

MOST_SECONDS = 20.0


@asynccontextmanager
async def failed_over(stage: Stage) -> AsyncIterator[None]:
    """SIGKILL of the primary; its replica takes over."""
    primary, replica = _pair(stage)
    await kill_and_wait(stage, primary, replica)
    yield


@asynccontextmanager
async def failed_over_with_a_lost_tail(stage: Stage) -> AsyncIterator[None]:
    """SIGKILL of a primary whose last writes its replica has not got."""
    primary, replica = _pair(stage)
    replica.pause()
    with operator(primary) as redis:
        redis.client_kill_filter(_type="replica")
    await asyncio.sleep(TAIL_SECONDS)
    primary.kill()
    replica.resume()
    await kill_and_wait(stage, primary, replica)
    yield


async def kill_and_wait(stage: Stage, primary: Server, replica: Server) -> None:
    """Kill a primary, and return when its replica has taken its place."""
    began = time.monotonic()
    primary.kill()

    async def is_done() -> bool:
        return await asyncio.to_thread(has_taken_over, stage, replica)

    await eventually(is_done, bool, within_seconds=MOST_SECONDS)
    ms = (time.monotonic() - began) * 1e3
    stage.scene.remarks.append(f"the replica had taken over {ms:.0f} ms after the kill")


def has_taken_over(stage: Stage, replica: Server) -> bool:
    """Whether a server is a primary, and a sentinel names it where there are some."""
    if not is_primary(replica):
        return False
    if stage.guarded is None:
        return True
    named = set()
    for port in stage.guarded.ports:
        with suppress(RedisError), Redis(host=HOST, port=port) as sentinel:
            named.add(sentinel.sentinel_get_master_addr_by_name(NAME)[1])
    return replica.port in named


def is_primary(server: Server) -> bool:
    """Whether a server takes writes now, of a cluster too."""
    with suppress(RedisError), Redis.from_url(server.url, socket_timeout=1) as redis:
        is_ok = "cluster_enabled:1" not in str(redis.info("cluster")) or (
            redis.cluster("INFO")["cluster_state"] == "ok"
        )
        return redis.info("replication")["role"] == "master" and is_ok
    return False


def _pair(stage: Stage) -> tuple[Server, Server]:
    """Return the primary that is to die, and its replica."""
    if stage.guarded is not None:
        return stage.guarded.primary, stage.guarded.replica
    cluster = stage.cluster
    if not isinstance(cluster, Clustered):
        raise TypeError("a fault of a failover says its layout")
    primary = cluster.owner(next(keys_of(PROBED)))
    return primary, cluster.replicas[cluster.primaries.index(primary)]


FAULTS = (
    Fault(
        name="sentinel",
        title="Sentinel failover: kill -9 of the primary",
        act=failed_over,
        layout=Layout.SENTINEL,
        seconds=0.0,
        shows="503 unavailable not_applied",
    ),
    Fault(
        name="sentinel-tail",
        title="Sentinel failover that loses the last writes",
        act=failed_over_with_a_lost_tail,
        layout=Layout.SENTINEL,
        seconds=0.0,
        processes=(1, 3),
        needs_replay=True,
    ),
    Fault(
        name="cluster",
        title="Cluster node loss: kill -9 of one of three primaries",
        act=failed_over,
        layout=Layout.CLUSTER,
        seconds=0.0,
        shows="503 unavailable not_applied",
    ),
    Fault(
        name="cluster-tail",
        title="Cluster node loss that loses the last writes",
        act=failed_over_with_a_lost_tail,
        layout=Layout.CLUSTER,
        seconds=0.0,
        processes=(1, 3),
        needs_replay=True,
    ),
    Fault(
        name="one-replays",
        title="back empty; two services, one has written all",
        act=killed,
        processes=(2,),
        writers=1,
        needs_replay=True,
    ),
)
