"""Where the primary is: at one address, or wherever the sentinels say; redis-py connects to it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast
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
        return await _opened(self.make())

    def make(self) -> AbstractConnection:
        """Return a connection that is not opened yet."""
        return cast("AbstractConnection", self._pool.make_connection())  # type: ignore[no-untyped-call] # redis-py has it bare


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
        await _opened(connection)
        role = await _ask(connection, "ROLE")
        if role[0] == b"master":
            return connection
        await connection.disconnect(nowait=True)
        raise NoPrimary

    async def _find(self) -> tuple[str, int]:
        for sentinel in self._sentinels:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    connection = await sentinel.open()
                    found = await _ask(
                        connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name
                    )
                    await connection.disconnect(nowait=True)
            except (RedisError, OSError):
                continue
            if found is not None:
                return found[0].decode(), int(found[1])
        raise NoPrimary


def topology_of(target: RedisTarget) -> Topology | None:
    """Return where a target leads, None if its URL cannot be read."""
    url = target.url or ""
    options = target.tls_options() if url.startswith("rediss") else {}
    try:
        if _SENTINEL in url.partition("://")[0]:
            return _sentinels_of(url, options)
        return Single(url, options)
    except (ValueError, TypeError, AttributeError, RedisError):
        # An option in the URL that redis-py does not know, or takes for something else.
        return None


def _sentinels_of(url: str, options: Mapping[str, object]) -> Sentinels:
    """Read `redis+sentinel://[[user]:password@]host[:port],.../name[/db]`, then as ever."""
    # By hand: urlsplit takes several hosts for a wrong one, in some versions.
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    account, at, hosts = authority.rpartition("@")
    path, mark, query = path.partition("?")
    name, _, db = path.partition("/")
    if not name or not hosts:
        raise ValueError
    primary = f"{scheme.removesuffix(_SENTINEL)}://{account}{at}primary/{db}{mark}{query}"
    sentinels = [_sentinel_at(host) for host in hosts.split(",")]
    return Sentinels(sentinels, unquote(name), Single(primary, options))


def _sentinel_at(host: str) -> Single:
    has_port = urlsplit(f"//{host}").port is not None
    return Single(f"redis://{host}" if has_port else f"redis://{host}:{SENTINEL_PORT}", {})


async def _opened(connection: AbstractConnection) -> AbstractConnection:
    """Return a connection when it is open; what was begun in vain is closed."""
    try:
        await connection.connect()  # type: ignore[no-untyped-call] # redis-py has it bare
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return connection


async def _ask(connection: AbstractConnection, *command: str) -> Any:  # noqa: ANN401 # a reply
    """Return a reply; without one the connection is closed."""
    try:
        await connection.send_command(*command, check_health=False)
        return await connection.read_response(disable_decoding=True)
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
