"""Where the primary is: at one address, wherever the sentinels say, or one of a cluster's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from service.store.failures import NoPrimary
from service.store.target import RedisTarget

CONNECT_SECONDS = 1.0

ASK_SECONDS = 0.3
"""For one sentinel: three that are silent still leave time for a call."""

SENTINEL_PORT = 26_379
_SENTINEL = "+sentinel"

CLUSTER_PORT = 6_379
_CLUSTER = "+cluster"

_OPTIONS: dict[str, object] = {
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_timeout": None,  # the deadline of the call is the only one
    "retry": Retry(NoBackoff(), 0),  # tenacity owns all retries
    "protocol": 2,  # a channel that wants more asks for it when it is open
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    "client_name": "ballast",
    "driver_info": None,
}


class Topology(Protocol):
    """Leads to the primary."""

    is_tls_verified: bool | None
    """Whether the server's certificate is checked; None without TLS."""

    may_move: bool
    """Whether a primary that became a replica has a successor elsewhere."""

    async def open(self) -> AbstractConnection:
        """Return a new connection to the primary. Raises RedisError, OSError."""


Guard = Callable[[Topology, tuple[str, int] | None], Topology]
"""Makes of the way to a server, or to a node at an address, one that is open when it may be."""


def unguarded(topology: Topology, _: tuple[str, int] | None) -> Topology:
    """Let every connection be used."""
    return topology


class Single:
    """A primary that stays where it is."""

    may_move = False

    def __init__(self, url: str, options: Mapping[str, object]) -> None:
        """Raise what redis-py does if it cannot read the URL."""
        self._pool = ConnectionPool.from_url(url, **_OPTIONS, **options)
        probe = self.make()
        self.is_tls_verified = bool(probe.cert_reqs) if isinstance(probe, SSLConnection) else None

    async def open(self) -> AbstractConnection:
        """See Topology."""
        return await opened(self.make())

    def make(self) -> AbstractConnection:
        """Return a connection that is not opened yet."""
        return cast("AbstractConnection", self._pool.make_connection())  # type: ignore[no-untyped-call] # redis-py has it bare


@dataclass(frozen=True, slots=True)
class Seeds:
    """Nodes of a cluster, each of which may say where its primaries are."""

    addresses: tuple[tuple[str, int], ...]
    like: Single
    """Makes connections to any node of it, but for their address."""


class Sentinels:
    """A primary that moves; each sentinel may say where it is."""

    may_move = True

    def __init__(self, sentinels: Sequence[Single], name: str, primary: Single) -> None:
        """Ask `sentinels` for `name`; `primary` makes connections to it, but for its address."""
        self._sentinels = sentinels
        self._name = name
        self._primary = primary
        self.is_tls_verified = primary.is_tls_verified

    async def open(self) -> AbstractConnection:
        """See Topology. Who is named has to say so himself: the sentinels may be late."""
        connection = self._primary.make()
        assert isinstance(connection, Connection)
        connection.host, connection.port = await self._find()
        await opened(connection)
        role = await ask(connection, "ROLE")
        if role[0] == b"master":
            return connection
        await connection.disconnect(nowait=True)
        raise NoPrimary

    async def _find(self) -> tuple[str, int]:
        for sentinel in self._sentinels:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    connection = await sentinel.open()
                    found = await ask(connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
                    await connection.disconnect(nowait=True)
            except (RedisError, OSError):
                continue
            if found is not None:
                return found[0].decode(), int(found[1])
        raise NoPrimary


def topology_of(target: RedisTarget) -> Topology | Seeds | None:
    """Return where a target leads, None if its URL cannot be read."""
    url = target.url or ""
    options = target.tls_options() if url.startswith("rediss") else {}
    scheme = url.partition("://")[0]
    try:
        if _SENTINEL in scheme:
            return _sentinels_of(url, options)
        return _seeds_of(url, options) if _CLUSTER in scheme else Single(url, options)
    except (ValueError, TypeError, AttributeError, RedisError):
        # An option in the URL that redis-py does not know, or takes for something else.
        return None


class _Parts(NamedTuple):
    """`scheme+kind://[account@]hosts/path[?query]`; account and query with their marks."""

    scheme: str
    account: str
    hosts: list[str]
    path: str
    query: str


def _split(url: str) -> _Parts:
    # By hand: urlsplit takes several hosts for a wrong one, in some versions.
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    account, at, hosts = authority.rpartition("@")
    path, mark, query = path.partition("?")
    if not hosts:
        raise ValueError
    return _Parts(scheme.partition("+")[0], account + at, hosts.split(","), path, mark + query)


def _sentinels_of(url: str, options: Mapping[str, object]) -> Sentinels:
    """Read `redis+sentinel://[[user]:password@]host[:port],.../name[/db]`, then as ever."""
    parts = _split(url)
    name, _, db = parts.path.partition("/")
    if not name:
        raise ValueError
    primary = f"{parts.scheme}://{parts.account}primary/{db}{parts.query}"
    sentinels = [
        Single(f"redis://{_host(host)}:{port}", {})
        for host, port in (_address(each, SENTINEL_PORT) for each in parts.hosts)
    ]
    return Sentinels(sentinels, unquote(name), Single(primary, options))


def _seeds_of(url: str, options: Mapping[str, object]) -> Seeds:
    """Read `redis+cluster://[[user]:password@]host[:port],...[/0]`, then as ever."""
    parts = _split(url)
    if parts.path not in {"", "0"}:
        raise ValueError  # a cluster has one database
    like = Single(f"{parts.scheme}://{parts.account}primary/0{parts.query}", options)
    return Seeds(tuple(_address(each, CLUSTER_PORT) for each in parts.hosts), like)


def _address(host: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if not parts.hostname or parts.query:
        raise ValueError
    return parts.hostname, parts.port or port


def _host(name: str) -> str:
    return f"[{name}]" if ":" in name else name


async def opened(connection: AbstractConnection) -> AbstractConnection:
    """Return a connection when it is open; what was begun in vain is closed."""
    async with closing(connection):
        await connection.connect()  # type: ignore[no-untyped-call] # redis-py has it bare
    return connection


async def ask(connection: AbstractConnection, *command: str) -> Any:  # noqa: ANN401 # a reply
    """Return a reply; without one the connection is closed."""
    async with closing(connection):
        await connection.send_command(*command, check_health=False)
        return await connection.read_response(disable_decoding=True)


@asynccontextmanager
async def closing(connection: AbstractConnection) -> AsyncIterator[None]:
    """Close a connection unless the block comes to its end, cancelled or not."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(connection.disconnect, nowait=True)
        yield
        stack.pop_all()
