"""Who is calling: the key decides the namespace and the scope, nothing in the request does."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from hmac import compare_digest
from urllib.parse import urlsplit

from service.errors import Forbidden, Unauthorized
from service.model import Namespace


class Scope(IntEnum):
    """How far a key reaches; a larger scope includes the smaller ones."""

    RO = 1
    RW = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Principal:
    """What a caller may touch and how far."""

    namespace: Namespace
    scope: Scope


_LOOPBACK = {"localhost", "127.0.0.1", "::1"}

DEFAULT_NAMESPACE = Namespace("default")


@dataclass(frozen=True, slots=True)
class Credential:
    """A key and whose it is."""

    key: str = field(repr=False)
    principal: Principal


class Keyring:
    """All keys that are known. Without any, `anonymous` is who everybody is (None = nobody)."""

    def __init__(
        self, credentials: Iterable[Credential], *, anonymous: Principal | None = None
    ) -> None:
        """Keep the keys as bytes: compare_digest refuses text that is not ASCII."""
        self._known = [(c.key.encode(), c.principal) for c in credentials]
        self._anonymous = anonymous

    @property
    def is_closed(self) -> bool:
        """Whether nobody can get in, because no key is configured and none is waived."""
        return not self._known and self._anonymous is None

    def authenticate(self, authorization: str | None, origin: str | None = None) -> Principal:
        """Return who sends this Authorization header (RFC 6750). Raises Unauthorized, Forbidden.

        Every key is compared, in constant time: how long it takes tells nothing. Without keys the
        page of a foreign `origin` (RFC 6454) is refused: a browser on this machine would lend it
        everything.
        """
        if not self._known and self._anonymous is not None:
            if origin is not None and urlsplit(origin).hostname not in _LOOPBACK:
                raise Forbidden("Pages of other sites may not call a service without a key.")
            return self._anonymous
        scheme, _, token = (authorization or "").partition(" ")
        sent = token.strip().encode() if scheme.lower() == "bearer" else b""
        matching = [who for key, who in self._known if compare_digest(key, sent)]
        if matching:
            return matching[0]
        if self.is_closed:
            raise Unauthorized("No API key is configured: set API_KEY and send it as Bearer.")
        raise Unauthorized("Send a known key: Authorization: Bearer KEY.")
