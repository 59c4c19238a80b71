"""One request under way: who calls, what the path names, and its parts, parsed on demand."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import unquote_plus

from starlette.requests import Request

from service.access import Principal, Scope
from service.errors import (
    BadInput,
    Fault,
    Forbidden,
    RequestTimeout,
    TooLarge,
    UnsupportedMediaType,
    escaped,
)
from service.http.lifespan import LifespanState
from service.http.names import session_id, state_key_in_path
from service.model import ANY, JSON_TYPE, Conditions, Freshness, SessionRef, StateKey

BODY_IDLE_SECONDS = 30

_ENTITY_TAG = re.compile(r'(W/)?"([\x21\x23-\x2b\x2d-\x7e]*)"')  # ours have no comma
_STALE_IF_ERROR = re.compile(r"stale-if-error=\"?([0-9]{1,9})\"?")


@dataclass(slots=True)
class Call:
    """A request of an authenticated caller; `segments` are the raw names in its path."""

    request: Request[LifespanState]
    principal: Principal
    segments: tuple[bytes, ...]
    held_bytes: int = 0

    @property
    def parts(self) -> LifespanState:
        """The parts of the service."""
        return self.request.state

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
        for pair in filter(None, self.request.scope["query_string"].split(b"&")):
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

    def conditions(self) -> Conditions:
        """Parse If-Match, If-None-Match (RFC 9110, 13.1) and Lease-Token."""
        return Conditions(
            if_match=_tags(self.request, "if-match", weak_too=False),
            if_none_match=_tags(self.request, "if-none-match", weak_too=True),
            lease_token=self.lease_token(),
        )

    def freshness(self) -> Freshness:
        """Parse the Cache-Control of the request (RFC 9111, 5.2.1)."""
        lines = ",".join(self.request.headers.getlist("cache-control")).lower()
        if not lines:
            return Freshness()
        directives = [directive.strip() for directive in lines.split(",")]
        stale = next(filter(None, map(_STALE_IF_ERROR.fullmatch, directives)), None)
        return Freshness(
            no_cache="no-cache" in directives,
            stale_if_error_seconds=float(stale[1]) if stale else None,
        )

    def lease_token(self) -> str | None:
        """Return the Lease-Token, None if none was sent. Raises BadInput for more than one."""
        tokens = self.request.headers.getlist("lease-token")
        if not tokens:
            return None
        if len(tokens) > 1 or not tokens[0]:
            fault = Fault("/headers/lease-token", "must be the token of the lease, once")
            raise BadInput("Send the token of the lease as Lease-Token.", fault)
        return tokens[0]

    def media_type(self) -> str:
        """Return the content type exactly as it was sent, "" if there is none."""
        return self.request.headers.get("content-type", "").strip()

    async def json_body(self) -> bytes:
        """Read a body that has to be JSON. Raises UnsupportedMediaType, TooLarge, BadInput."""
        media_type = self.media_type()
        if media_type and not is_json(media_type):
            raise UnsupportedMediaType(
                "This route reads JSON: send Content-Type: application/json."
            )
        return await self.body(self.parts["limits"].max_body_bytes)

    async def body(self, most_bytes: int) -> bytes:
        """Read the whole body. Raises TooLarge before it is read where the length is told."""
        headers = self.request.headers
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("Send the body without Content-Encoding.")
        told = headers.get("content-length", "0")
        if told.isdecimal() and int(told) > most_bytes:
            raise _body_too_large(most_bytes)
        chunks, size = [], 0
        async for chunk in _chunks(self.request):
            size += len(chunk)
            if size > most_bytes:
                raise _body_too_large(most_bytes)
            chunks.append(chunk)
            self.hold(len(chunk))
        return b"".join(chunks)

    def hold(self, count: int) -> None:
        """Account for bytes that stay in memory until the answer is sent."""
        self.held_bytes += count
        self.parts["buffers"].held += count

    def release(self) -> None:
        """Account for everything that this call held as gone."""
        self.parts["buffers"].held -= self.held_bytes
        self.held_bytes = 0


def is_json(media_type: str) -> bool:
    """Whether a content type is application/json or ends in +json (RFC 6839, 3.1)."""
    essence = media_type.partition(";")[0].strip().lower()
    return essence == JSON_TYPE or essence.endswith("+json")


def _body_too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes.", limit=limit)


async def _chunks(request: Request[LifespanState]) -> AsyncIterator[bytes]:
    """Yield the body as it comes, as long as it comes."""
    stream = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(BODY_IDLE_SECONDS):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            words = f"No byte of the body came for {BODY_IDLE_SECONDS} s."
            raise RequestTimeout(words) from None
        yield chunk


def _unquoted(raw: bytes) -> str:
    try:
        return unquote_plus(raw.decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        raise BadInput("The query is not UTF-8.", Fault("/query", "must be UTF-8")) from None


def _tags(request: Request[LifespanState], name: str, *, weak_too: bool) -> tuple[str, ...] | None:
    """Return the entity-tags of a header; weak ones compare only for If-None-Match."""
    lines = request.headers.getlist(name)
    if not lines:
        return None
    parts = [part.strip() for part in ",".join(lines).split(",")]
    if parts == [ANY]:
        return (ANY,)
    matches = [_ENTITY_TAG.fullmatch(part) for part in parts if part]
    if not matches or not all(matches):
        reason = 'must be * or a list of quoted entity-tags: "abc-1"'
        raise BadInput("A condition cannot be read.", Fault(f"/headers/{name}", reason))
    # The entity-tag "*" is none of ours, and not the bare * that means any.
    return tuple(
        match[2] for match in matches if match and match[2] != ANY and (weak_too or not match[1])
    )
