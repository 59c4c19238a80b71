"""Routes on the raw path, so that `a%2Fb` is one segment; every answer leaves through here.

Segments at odd places are names (/v1/sessions/{id}/state/{key}); the others are words. A path is
found by its words and its length: one look-up, whatever the number of routes.
"""

import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

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
from service.http.lifespan import LifespanState
from service.http.problems import problem_response
from service.model import Limits

API_PREFIX = b"/v1/"

Handler = Callable[[Call], Awaitable[Response]]
OpenHandler = Callable[[Request[LifespanState]], Awaitable[Response]]

T = TypeVar("T")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_log = logging.getLogger("ballast.http")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A handler and the least scope that may call it; it may demand more when it knows more."""

    handler: Handler
    scope: access.Scope


Methods = Mapping[str, Endpoint]
Shape = tuple[bytes | None, ...]
"""The words of a path; None where a name stands."""


class Router(BaseRoute):
    """All routes of the service: those of the API behind keys, the open ones without."""

    def __init__(
        self, api: Mapping[str, Methods], open_routes: Mapping[str, Mapping[str, OpenHandler]]
    ) -> None:
        """Take patterns like "/v1/sessions/{id}" and the methods of each."""
        self._api = {_shape_of_pattern(pattern): methods for pattern, methods in api.items()}
        self._open = {pattern.encode(): methods for pattern, methods in open_routes.items()}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Take every HTTP request."""
        return (Match.FULL if scope["type"] == "http" else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong is a problem document."""
        request: Request[LifespanState] = Request(scope, receive)
        request_id = _request_id(request)
        try:
            response = await self._answer(request)
        except ServiceError as error:
            response = problem_response(error, request_id)
        except ClientDisconnect:
            return
        except Exception:  # noqa: BLE001 # a defect must not become a bare 500
            _log.exception("Request %s failed by a defect of the service.", request_id)
            response = problem_response(Internal("This is a defect, and it is logged."), request_id)
        await _send(response, request, request_id, send)

    async def _answer(self, request: Request[LifespanState]) -> Response:
        _check_headers(request, request.state["limits"])
        path: bytes = request.scope["raw_path"]
        if path.startswith(API_PREFIX):
            return await self._answer_api(request, path)
        methods = self._open.get(path)
        if methods is None:
            raise NotFound("There is nothing at this path.", code="no_such_path")
        return await _pick(methods, request.method)(request)

    async def _answer_api(self, request: Request[LifespanState], path: bytes) -> Response:
        principal = request.state["keyring"].authenticate(request.headers)
        if request.state["stopping"].is_set:
            raise Unavailable("This process is stopping: send it again.", code="stopping")
        segments = path[len(API_PREFIX) :].split(b"/")
        methods = self._api.get(_shape(segments))
        if methods is None:
            raise NotFound("There is nothing at this path.", code="no_such_path")
        endpoint = _pick(methods, request.method)
        call = Call(request, principal, tuple(segments[1::2]))
        call.require(endpoint.scope)
        try:
            return await endpoint.handler(call)
        finally:
            call.release()


def _pick(methods: Mapping[str, T], method: str) -> T:
    found = methods.get(method)
    if found is None:
        allow = tuple(sorted(methods))
        raise MethodNotAllowed(f"Use one of: {', '.join(allow)}.", allow=allow)
    return found


def _shape(segments: list[bytes]) -> Shape:
    return tuple(None if i % 2 else segment for i, segment in enumerate(segments))


def _shape_of_pattern(pattern: str) -> Shape:
    return _shape(pattern.encode().removeprefix(API_PREFIX).split(b"/"))


def _request_id(request: Request[LifespanState]) -> str:
    """Return the id that the caller gave, if it is fit for logs, else a new one."""
    sent = request.headers.get("x-request-id", "")
    return sent if _REQUEST_ID.fullmatch(sent) else secrets.token_hex(8)


def _check_headers(request: Request[LifespanState], limits: Limits) -> None:
    lines = request.scope["headers"]
    if len(lines) > limits.max_header_lines:
        raise HeadersTooLarge("Too many header lines.", limit=limits.max_header_lines)
    if sum(len(name) + len(value) for name, value in lines) > limits.max_header_bytes:
        raise HeadersTooLarge("The headers are too large.", limit=limits.max_header_bytes)


async def _send(
    response: Response, request: Request[LifespanState], request_id: str, send: Send
) -> None:
    response.headers["X-Request-Id"] = request_id
    if request.scope["raw_path"].startswith(API_PREFIX):
        response.headers["Cache-Control"] = "no-store"
    counters = request.state["counters"]
    counters["requests"] += 1
    counters[f"responses{response.status_code // 100}xx"] += 1
    buffers = request.state["buffers"]
    buffers.held += len(response.body)
    try:
        await response(request.scope, request.receive, send)
    finally:
        buffers.held -= len(response.body)
