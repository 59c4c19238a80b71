"""What a request is answered with."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from service.http.headers import Line


@dataclass(slots=True)
class Response:
    """A body, a status, header lines ready for the wire, and what to do after it was sent."""

    body: bytes = b""
    status_code: int = 200
    headers: Iterable[Line] = ()
    after: Callable[[], Awaitable[None]] | None = None
