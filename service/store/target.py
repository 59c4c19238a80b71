"""Where Redis is, and how a connection to it is made: redis-py's addresses, AUTH and TLS."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from service.model import TlsVerify

CONNECT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTarget:
    """Where Redis is and how it may be spoken to; the URL holds a password."""

    url: str | None = field(repr=False)
    tls_verify: TlsVerify = TlsVerify.FULL
    tls_ca: Path | None = None
    max_connections: int = 4

    def connector(self) -> Callable[[], AbstractConnection] | None:
        """Return what makes connections that are not opened yet; None if the URL says nowhere."""
        if not self.url:
            return None
        tls = self._tls_options() if self.url.startswith("rediss://") else {}
        try:
            pool = ConnectionPool.from_url(self.url, **_OPTIONS, **tls)
            pool.make_connection()  # type: ignore[no-untyped-call] # redis-py has it bare
        except (ValueError, TypeError, AttributeError, RedisError):
            # An option in the URL that redis-py does not know, or takes for something else.
            return None
        return pool.make_connection

    def _tls_options(self) -> dict[str, object]:
        """Return redis-py's TLS options: "full" checks chain and name, "ca" the chain alone."""
        if self.tls_verify is TlsVerify.OFF:
            return {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
        return {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": self.tls_verify is TlsVerify.FULL,
            "ssl_ca_certs": str(self.tls_ca) if self.tls_ca else None,
        }


def is_verified(connection: AbstractConnection) -> bool | None:
    """Whether the server's certificate is checked; None without TLS."""
    return bool(connection.cert_reqs) if isinstance(connection, SSLConnection) else None


_OPTIONS: dict[str, object] = {
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_timeout": None,  # the deadline of the call is the only one
    "retry": Retry(NoBackoff(), 0),  # tenacity owns all retries
    "protocol": 2,  # a channel that wants more asks for it when it is open
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    "client_name": "ballast",
    "driver_info": None,
}
