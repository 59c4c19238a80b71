"""Where Redis is and how it may be spoken to, as the settings say it."""

from dataclasses import dataclass, field
from pathlib import Path

from service.model import TlsVerify


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTarget:
    """Where Redis is and how it may be spoken to; the URL holds a password."""

    url: str | None = field(repr=False)
    tls_verify: TlsVerify = TlsVerify.FULL
    tls_ca: Path | None = None
    max_connections: int = 4

    def tls_options(self) -> dict[str, object]:
        """Return redis-py's TLS options: "full" checks chain and name, "ca" the chain alone."""
        if self.tls_verify is TlsVerify.OFF:
            return {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
        return {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": self.tls_verify is TlsVerify.FULL,
            "ssl_ca_certs": str(self.tls_ca) if self.tls_ca else None,
        }
