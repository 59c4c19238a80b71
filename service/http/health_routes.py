"""Routes of health: answered from memory, never waiting for Redis or a lock; no key needed."""

import orjson
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.http.health import build_health
from service.http.lifespan import LifespanState
from service.model import JSON_TYPE

HEALTH_TYPE = "application/health+json"


async def health(request: Request[LifespanState]) -> Response:
    """Tell how it goes; a governor that is late is stood in for after the answer."""
    state = request.state
    answer = build_health(state["health_inputs"]())
    wanted = request.headers.get("accept", "")
    return Response(
        orjson.dumps(answer.document),
        status_code=answer.http_status,
        headers={"Cache-Control": "no-store"},
        media_type=HEALTH_TYPE if HEALTH_TYPE in wanted else JSON_TYPE,
        background=BackgroundTask(state["governor"].rescue),
    )


async def live(_: Request[LifespanState]) -> Response:
    """Tell that the process answers."""
    return _status("ok", 200)


async def ready(request: Request[LifespanState]) -> Response:
    """Tell whether requests should be sent here: not while stopping, nor without Redis."""
    state = request.state
    is_ready = state["store_status"]().connected and not state["stopping"].is_set
    return _status("ok", 200) if is_ready else _status("fail", 503)


async def root(_: Request[LifespanState]) -> Response:
    """Lead who opens the app in a browser to what there is to see."""
    return RedirectResponse("/health")


def _status(word: str, code: int) -> Response:
    return Response(orjson.dumps({"status": word}), code, {"Cache-Control": "no-store"}, JSON_TYPE)
