"""Who is calling: the key decides the namespace and the scope, nothing in the request does."""

from collections.abc import Iterable
from hmac import compare_digest
from urllib.parse import urlsplit

from service.access import Credential, Principal
from service.errors import Forbidden, Unauthorized
from service.http.headers import Headers

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


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

    def authenticate(self, headers: Headers) -> Principal:
        """Return who sends these headers (RFC 6750). Raises Unauthorized, Forbidden.

        Every key is compared, in constant time: how long it takes tells nothing.
        """
        if not self._known and self._anonymous is not None:
            _refuse_foreign_pages(headers)
            return self._anonymous
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        sent = token.strip() if scheme.lower() == b"bearer" else b""
        matching = [who for key, who in self._known if compare_digest(key, sent)]
        if matching:
            return matching[0]
        if self.is_closed:
            raise Unauthorized("No API key is configured: set API_KEY and send it as Bearer.")
        raise Unauthorized("Send a known key: Authorization: Bearer KEY.")


def _refuse_foreign_pages(headers: Headers) -> None:
    """Raise Forbidden for what a browser was led to ask by a page of another site (RFC 6454).

    Without a key it would lend that page everything that is on this machine.
    """
    if b"origin" in headers and _hostname(headers.text(b"origin")) not in _LOOPBACK:
        raise Forbidden("Pages of other sites may not call a service without a key: set API_KEY.")


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
