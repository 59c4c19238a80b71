"""Sends answers: large ones in pieces, so that what a slow reader has not taken yet is counted."""

from starlette.types import Scope, Send

from service.http.headers import Line
from service.http.response import Response

API_PREFIX = b"/v1/"
PIECE_BYTES = 65_536
"""What a transport takes before it asks to wait (uvicorn's high-water mark)."""

CLOSE: Line = (b"connection", b"close")

_NO_STORE: Line = (b"cache-control", b"no-store")
_BODILESS = (204, 304)
_COUNTERS = tuple(f"responses{hundreds}xx" for hundreds in range(6))


async def send_response(response: Response, scope: Scope, request_id: bytes, send: Send) -> None:
    """Send an answer, then do what is to be done after it."""
    counters = scope["state"]["counters"]
    counters["requests"] += 1
    counters[_COUNTERS[response.status_code // 100]] += 1
    status, body = response.status_code, response.body
    lines = [*response.headers, (b"x-request-id", request_id)]
    if scope["raw_path"].startswith(API_PREFIX):
        lines.append(_NO_STORE)
    if status not in _BODILESS:
        lines.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    if len(body) > PIECE_BYTES:
        await _send_pieces(body, send)
        body = b""
    await send({"type": "http.response.body", "body": body})
    if response.after is not None:
        await response.after()


async def _send_pieces(body: bytes, send: Send) -> None:
    """Send piece by piece: each waits until the socket has taken nearly all before it."""
    view = memoryview(body)
    for start in range(0, len(body), PIECE_BYTES):
        piece = view[start : start + PIECE_BYTES]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
