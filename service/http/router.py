"""Routes on the raw path, so that `a%2Fb` is one segment; every answer leaves through here.

Segments at odd places are names (/v1/sessions/{id}/state/{key}); the others are words. A path is
found by its words and its length: one look-up, whatever the number of routes.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from random import getrandbits
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.types import Lifespan, Receive, Scope, Send

from service import access
from service.errors import (
    HeadersTooLarge,
    Internal,
    MethodNotAllowed,
    NotFound,
    ServiceError,
    Unavailable,
)
from service.http.call import Call
from service.http.headers import Headers, Line
from service.http.incoming import Body
from service.http.lifespan import LifespanState
from service.http.problems import problem_response
from service.http.response import Response
from service.http.sending import API_PREFIX, CLOSE, PIECE_BYTES, send_response
from service.memory.admission import REQUEST_BYTES, Hold
from service.model import Limits

Handler = Callable[[Call], Awaitable[Response]]
OpenHandler = Callable[[LifespanState, Headers], Response]
"""Answers from memory: it has nothing to wait for, and no body to read."""

T = TypeVar("T")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_SAFE = ("GET", "HEAD")
_log = logging.getLogger("ballast.http")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A handler and the least scope that may call it; it may demand more when it knows more."""

    handler: Handler
    scope: access.Scope
    grows: bool = False
    """Whether it brings data, which is refused first when memory is short."""


Methods = Mapping[str, Endpoint]
Shape = tuple[int | bytes, ...]
"""How many segments a path has, and those that are words."""


class Router(Starlette):
    """All routes of the service: those of the API behind keys, the open ones without.

    Starlette keeps the lifespan and its state; no request goes through its layers.
    """

    def __init__(
        self,
        api: Mapping[str, Methods],
        open_routes: Mapping[str, Mapping[str, OpenHandler]],
        lifespan: Lifespan["Router"],
    ) -> None:
        """Take patterns like "/v1/sessions/{id}" and the methods of each."""
        super().__init__(lifespan=lifespan)
        self._api = {_shape_of_pattern(it): methods for it, methods in api.items() if "{" in it}
        self._fixed = {it.encode(): methods for it, methods in api.items() if "{" not in it}
        self._open = {pattern.encode(): methods for pattern, methods in open_routes.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong is a problem document."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        headers = Headers(scope["headers"])
        request_id = _request_id(headers)
        body, hold = Body(scope, receive, headers), scope["state"]["admission"].begin()
        try:
            response = await self._answer(scope, receive, headers, body, hold)
            if len(response.body) > PIECE_BYTES:
                hold.release()
                # What has changed something is not refused any more.
                take = hold.grow if scope["method"] in _SAFE else hold.add
                take(len(response.body))
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 # a defect must not become a bare 500
            hold.release()
            response = problem_response(_told(error, request_id), request_id.decode())
        # Not while the error is at hand: its frames keep what has come of the body.
        if not body.has_come:
            await _drain(body, response, scope["state"]["draining"])
        await send_response(response, scope, request_id, send)
        hold.release()

    async def _answer(
        self, scope: Scope, receive: Receive, headers: Headers, body: Body, hold: Hold
    ) -> Response:
        parts: LifespanState = scope["state"]
        _check_headers(scope["headers"], parts["limits"])
        path: bytes = scope["raw_path"]
        if not path.startswith(API_PREFIX):
            return _pick(self._open.get(path), scope["method"])(parts, headers)
        principal = parts["keyring"].authenticate(headers)
        if parts["stopping"].is_set:
            raise Unavailable("This process is stopping: send it again.", code="stopping")
        segments = path[len(API_PREFIX) :].split(b"/")
        methods = self._fixed.get(path) or self._api.get(_shape(segments))
        endpoint = _pick(methods, scope["method"])
        call = Call(scope, receive, headers, parts, principal, segments[1::2], body, hold)
        call.require(endpoint.scope)
        if endpoint.grows:
            hold.restrict()
        hold.grow(REQUEST_BYTES)
        return await endpoint.handler(call)


def _pick(methods: Mapping[str, T] | None, method: str) -> T:
    if methods is None:
        raise NotFound("There is nothing at this path.", code="no_such_path")
    found = methods.get(method)
    if found is None:
        allow = tuple(sorted(methods))
        raise MethodNotAllowed(f"Use one of: {', '.join(allow)}.", allow=allow)
    return found


def _shape(segments: list[bytes]) -> Shape:
    return (len(segments), *segments[::2])


def _shape_of_pattern(pattern: str) -> Shape:
    return _shape(pattern.encode().removeprefix(API_PREFIX).split(b"/"))


def _request_id(headers: Headers) -> bytes:
    """Return the id that the caller gave, if it is fit for logs, else a new one."""
    sent = headers.get(b"x-request-id")
    if sent is not None and _REQUEST_ID.fullmatch(sent):
        return sent
    return b"%016x" % getrandbits(64)  # a name for logs, no secret


def _check_headers(lines: Sequence[Line], limits: Limits) -> None:
    if len(lines) > limits.max_header_lines:
        raise HeadersTooLarge("Too many header lines.", limit=limits.max_header_lines)
    if sum(map(len, chain.from_iterable(lines))) > limits.max_header_bytes:
        raise HeadersTooLarge("The headers are too large.", limit=limits.max_header_bytes)


def _told(error: Exception, request_id: bytes) -> ServiceError:
    """Return what a client is told of an error: of a defect that it is one."""
    if isinstance(error, ServiceError):
        return error
    _log.exception("Request %s failed by a defect of the service.", request_id.decode())
    return Internal("This is a defect, and it is logged.")


async def _drain(body: Body, response: Response, slots: asyncio.Semaphore) -> None:
    """Wait until the client listens: it does not while it sends. Who sends too much is cut off."""
    await body.drain(slots)
    if not body.has_come:
        response.headers = (*response.headers, CLOSE)
