"""One request under way: who calls, what the path names, and its parts, parsed on demand."""

import re
from dataclasses import dataclass
from urllib.parse import unquote_plus

from starlette.requests import Request
from starlette.types import Receive
from starlette.types import Scope as AsgiScope

from service.access import Principal, Scope
from service.errors import (
    BadInput,
    Fault,
    Forbidden,
    UnsupportedMediaType,
    escaped,
)
from service.http.headers import Headers
from service.http.incoming import Body
from service.http.lifespan import LifespanState
from service.http.names import session_id, state_key_in_path
from service.memory.admission import Hold
from service.model import ANY, JSON_TYPE, Conditions, Freshness, SessionRef, StateKey

IS_GONE = "ballast.is_gone"
"""In the scope: tells whether the connection has ended, where the one who reads it says so."""

LEASE_TOKEN = b"lease-token"
CONTENT_TYPE = b"content-type"
UNCONDITIONAL = Conditions()
ANY_FRESHNESS = Freshness()

_CONDITIONAL = frozenset((b"if-match", b"if-none-match", LEASE_TOKEN))
_ENTITY_TAG = re.compile(r'(W/)?"([\x21\x23-\x2b\x2d-\x7e]*)"')  # ours have no comma
_STALE_IF_ERROR = re.compile(r"stale-if-error=\"?([0-9]{1,9})\"?")


@dataclass(slots=True)
class Call:
    """A request of an authenticated caller; `segments` are the raw names in its path."""

    scope: AsgiScope
    receive: Receive
    headers: Headers
    parts: LifespanState
    principal: Principal
    segments: list[bytes]
    incoming: Body
    hold: Hold

    @property
    def ref(self) -> SessionRef:
        """The session that the path names, in the caller's namespace."""
        return SessionRef(namespace=self.principal.namespace, id=session_id(self.segments[0]))

    @property
    def key(self) -> StateKey:
        """The state key that the path names."""
        return state_key_in_path(self.segments[1])

    def require(self, scope: Scope) -> None:
        """Raise Forbidden unless the caller's key reaches that far."""
        if self.principal.scope < scope:
            raise Forbidden(f"This key is {self.principal.scope.name.lower()}: it may not do this.")

    def query(self, *known: str) -> dict[str, str]:
        """Return the query's parameters. Raises BadInput for unknown or repeated ones."""
        found: dict[str, str] = {}
        if not self.scope["query_string"]:
            return found
        for pair in filter(None, self.scope["query_string"].split(b"&")):
            raw_name, _, raw_value = pair.partition(b"=")
            name, value = _unquoted(raw_name), _unquoted(raw_value)
            if name not in known:
                raise BadInput(
                    "A query parameter is not known here.",
                    Fault(f"/query/{escaped(name)}", f"known are: {', '.join(known) or 'none'}"),
                )
            if name in found:
                raise BadInput(
                    "A query parameter is repeated.", Fault(f"/query/{name}", "give it once")
                )
            found[name] = value
        return found

    @property
    def is_conditional(self) -> bool:
        """Whether something is to be done only if what is there now allows it."""
        return not _CONDITIONAL.isdisjoint(self.headers)

    def conditions(self) -> Conditions:
        """Parse If-Match, If-None-Match (RFC 9110, 13.1) and Lease-Token."""
        if not self.is_conditional:
            return UNCONDITIONAL
        return Conditions(
            if_match=_tags(self.headers, b"if-match", weak_too=False),
            if_none_match=_tags(self.headers, b"if-none-match", weak_too=True),
            lease_token=self.lease_token(),
        )

    def freshness(self) -> Freshness:
        """Parse the Cache-Control of the request (RFC 9111, 5.2.1)."""
        if b"cache-control" not in self.headers:
            return ANY_FRESHNESS
        sent = self.headers.text(b"cache-control").lower()
        directives = [directive.strip() for directive in sent.split(",")]
        stale = next(filter(None, map(_STALE_IF_ERROR.fullmatch, directives)), None)
        return Freshness(
            no_cache="no-cache" in directives,
            stale_if_error_seconds=float(stale[1]) if stale else None,
        )

    def lease_token(self) -> str | None:
        """Return the Lease-Token, None if none was sent. Raises BadInput for more than one."""
        if LEASE_TOKEN not in self.headers:
            return None
        token = self.headers.text(LEASE_TOKEN)
        if not token or LEASE_TOKEN in self.headers.repeated:
            fault = Fault("/headers/lease-token", "must be the token of the lease, once")
            raise BadInput("Send the token of the lease as Lease-Token.", fault)
        return token

    def media_type(self) -> str:
        """Return the content type exactly as it was sent, "" if there is none.

        Raises BadInput for more than one: they would not be understood alike everywhere.
        """
        if CONTENT_TYPE in self.headers.repeated:
            fault = Fault("/headers/content-type", "give it once")
            raise BadInput("A body has one Content-Type.", fault)
        return self.headers.text(CONTENT_TYPE).strip()

    async def json_body(self) -> bytes:
        """Read a body that has to be JSON. Raises UnsupportedMediaType, TooLarge, BadInput."""
        media_type = self.media_type()
        if media_type and not is_json(media_type):
            raise UnsupportedMediaType(
                "This route reads JSON: send Content-Type: application/json."
            )
        return await self.body()

    async def body(self) -> bytes:
        """Read the whole body. Raises TooLarge or Unavailable, before if its length is told."""
        return await self.incoming.read(self.parts["limits"].max_body_bytes, self.hold)

    async def is_disconnected(self) -> bool:
        """Whether the client has gone; nothing is read of what it sends behind this request."""
        is_gone = self.scope.get(IS_GONE)
        if is_gone is not None:
            return bool(is_gone())
        return await Request(self.scope, self.receive).is_disconnected()


def is_json(media_type: str) -> bool:
    """Whether a content type is application/json or ends in +json (RFC 6839, 3.1)."""
    if media_type == JSON_TYPE:
        return True
    essence = media_type.partition(";")[0].strip().lower()
    return essence == JSON_TYPE or essence.endswith("+json")


def _unquoted(raw: bytes) -> str:
    try:
        return unquote_plus(raw.decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        raise BadInput("The query is not UTF-8.", Fault("/query", "must be UTF-8")) from None


def _tags(headers: Headers, name: bytes, *, weak_too: bool) -> tuple[str, ...] | None:
    """Return the entity-tags of a header; weak ones compare only for If-None-Match."""
    if name not in headers:
        return None
    parts = [part.strip() for part in headers.text(name).split(",")]
    if parts == [ANY]:
        return (ANY,)
    matches = [_ENTITY_TAG.fullmatch(part) for part in parts if part]
    if not matches or not all(matches):
        reason = 'must be * or a list of quoted entity-tags: "abc-1"'
        fault = Fault(f"/headers/{name.decode()}", reason)
        raise BadInput("A condition cannot be read.", fault)
    # The entity-tag "*" is none of ours, and not the bare * that means any.
    return tuple(
        match[2] for match in matches if match and match[2] != ANY and (weak_too or not match[1])
    )
