"""What a request is answered with: header lines are bytes, ready for the wire."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from starlette.types import Send

from service.http.headers import Line

_BODILESS = (204, 304)


@dataclass(slots=True)
class Response:
    """A status, header lines, a body, and what is to be done after it was sent."""

    body: bytes = b""
    status_code: int = 200
    headers: Iterable[Line] = ()
    after: Callable[[], Awaitable[None]] | None = None

    async def send(self, send: Send, *more: Line) -> None:
        """Send it with more header lines, and how long the body is if there may be one."""
        lines = [*self.headers, *more]
        if self.status_code not in _BODILESS:
            lines.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status_code, "headers": lines})
        await send({"type": "http.response.body", "body": self.body})
        if self.after is not None:
            await self.after()
