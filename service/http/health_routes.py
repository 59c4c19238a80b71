"""Routes of health: answered from memory, never waiting for Redis or a lock; no key needed."""

import orjson

from service.http.answers import JSON
from service.http.headers import Headers
from service.http.health import build_health
from service.http.lifespan import LifespanState
from service.http.response import Response

HEALTH_TYPE = b"application/health+json"

_NO_STORE = (b"cache-control", b"no-store")


def health(parts: LifespanState, headers: Headers) -> Response:
    """Tell how it goes; a governor that is late is stood in for after the answer."""
    answer = build_health(parts["health_inputs"]())
    is_wanted = HEALTH_TYPE in headers.get(b"accept", b"")
    media_type = (b"content-type", HEALTH_TYPE) if is_wanted else JSON
    return Response(
        orjson.dumps(answer.document),
        answer.http_status,
        headers=(_NO_STORE, media_type),
        after=parts["governor"].rescue,
    )


def live(_: LifespanState, __: Headers) -> Response:
    """Tell that the process answers."""
    return _status("ok", 200)


def ready(parts: LifespanState, _: Headers) -> Response:
    """Tell whether requests should be sent here: not while stopping, nor without Redis."""
    is_ready = parts["store_status"]().connected and not parts["stopping"].is_set
    return _status("ok", 200) if is_ready else _status("fail", 503)


def root(_: LifespanState, __: Headers) -> Response:
    """Lead who opens the app in a browser to what there is to see."""
    return Response(status_code=307, headers=((b"location", b"/health"),))


def _status(word: str, code: int) -> Response:
    return Response(orjson.dumps({"status": word}), code, (_NO_STORE, JSON))
