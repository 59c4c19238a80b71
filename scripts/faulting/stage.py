"""The servers and services of a row; all are gone at its end."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import trustme
from redis import Redis
from redis.exceptions import RedisError

from scripts.faulting.fault import Fault, Layout, Side
from scripts.faulting.proxy import Proxy, proxy
from scripts.faulting.scene import Scene
from scripts.faulting.shim import Shim, build_shim
from service.access import DEFAULT_NAMESPACE
from service.model import SessionId, SessionRef
from service.store.keys import session_keys
from tests.clusters import Clustered, start_cluster
from tests.polling import eventually
from tests.processes import Service, start_service
from tests.sentinels import Guarded, start_guarded, until_all_know_all
from tests.servers import HOST, Server, start_server
from tests.tls import server_context

CONNECT_SECONDS = 20.0
PROBED = "probed"
"""The session that is written to find out whether writes are taken."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """What a fault may take hold of."""

    fault: Fault
    scene: Scene
    services: list[Service]
    servers: list[Server]
    proxy: Proxy
    authority: trustme.CA
    shim: Shim | None
    guarded: Guarded | None = None
    cluster: Clustered | None = None

    @property
    def server(self) -> Server:
        """The server, the first primary where there are several."""
        return self.servers[0]

    @property
    def knobs(self) -> Shim:
        """The shim, of a fault that needs one."""
        if self.shim is None:
            raise RuntimeError("a fault that turns knobs says `needs_shim`")
        return self.shim

    def erase(self, session: str) -> None:
        """Take a session away behind the back of all services."""
        for server in self.servers:
            with suppress(RedisError), Redis.from_url(server.url) as redis:
                for key in keys_of(session):
                    redis.delete(key)


def keys_of(session: str) -> Iterator[bytes]:
    """Name the keys of a session without a key to the service."""
    yield from session_keys(SessionRef(namespace=DEFAULT_NAMESPACE, id=SessionId(session)))


@asynccontextmanager
async def stage_of(fault: Fault, processes: int, random: Random) -> AsyncIterator[Stage]:
    """Start what a fault needs, and so many services, until each of them takes writes."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ballast-faults-")))
        stage = await _servers(fault, stack, directory, random)
        environ = {"REDIS_URL": _url(fault, stage), "MAX_MESSAGES": "100000"} | dict(fault.environ)
        if fault.layout is Layout.TLS:
            stage.authority.cert_pem.write_to_path(str(directory / "ca.pem"))
            environ |= {"REDIS_TLS_CA": str(directory / "ca.pem"), "REDIS_TLS_VERIFY": "full"}
        if stage.shim is not None and fault.needs_shim is Side.SERVICE:
            environ |= stage.shim.environ
        for _ in range(processes):
            service = await asyncio.to_thread(start_service, **environ)
            stage.services.append(stack.enter_context(service))
        for service in stage.services:
            await asyncio.to_thread(service.wait_until_connected, seconds=CONNECT_SECONDS)
        stage.scene.ports += [service.port for service in stage.services]
        yield stage


async def _servers(fault: Fault, stack: AsyncExitStack, directory: Path, random: Random) -> Stage:
    shim = build_shim(directory) if fault.needs_shim else None
    guarded = cluster = None
    if fault.layout is Layout.SENTINEL:
        guarded = stack.enter_context(start_guarded())
        await until_all_know_all(guarded)
        await _until_copied(guarded.replica)
        servers = [guarded.primary, guarded.replica]
    elif fault.layout is Layout.CLUSTER:
        cluster = stack.enter_context(await asyncio.to_thread(start_cluster, "valkey"))
        servers = [*cluster.primaries, *cluster.replicas]
    else:
        environ = shim.environ if shim and fault.needs_shim is Side.REDIS else None
        server = start_server("valkey", *fault.options, environ=environ)
        servers = [stack.enter_context(server)]
    stage = Stage(
        fault=fault,
        scene=Scene(ports=[], random=random),
        services=[],
        servers=servers,
        proxy=await stack.enter_async_context(proxy(servers[0].port)),
        authority=trustme.CA(),
        shim=shim,
        guarded=guarded,
        cluster=cluster,
    )
    if fault.layout in {Layout.PROXY, Layout.TLS}:
        is_tls = fault.layout is Layout.TLS
        await stage.proxy.open(server_context(stage.authority, HOST) if is_tls else None)
    return stage


async def _until_copied(replica: Server) -> None:
    """Return when a replica has what its primary has."""

    async def link() -> str:
        with Redis.from_url(replica.url) as redis:
            return str(redis.info("replication").get("master_link_status"))

    await eventually(link, lambda status: status == "up", within_seconds=CONNECT_SECONDS)


def _url(fault: Fault, stage: Stage) -> str:
    if stage.guarded is not None:
        return stage.guarded.url
    if stage.cluster is not None:
        return stage.cluster.url
    schemes = {Layout.PROXY: "redis", Layout.TLS: "rediss"}
    if fault.layout in schemes:
        return f"{schemes[fault.layout]}://{HOST}:{stage.proxy.port}/0"
    return stage.server.url
