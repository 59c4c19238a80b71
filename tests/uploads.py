"""Requests that are under way in a service: an upload that drips, and a way to wait for them."""

import socket

from service.memory.admission import REQUEST_BYTES
from tests.processes import Service, wait_until
from tests.servers import HOST

END_SECONDS = 25.0
BODY = b'{"messages": [{"text": "slow"}]}'


def wait_for_requests(service: Service, count: int) -> None:
    """Return when so many requests are under way in the service."""
    wait_until(
        lambda: service.health()["memory"]["admission"]["held"] >= count * REQUEST_BYTES,
        seconds=1,
        what="requests under way",
    )


class SlowUpload:
    """An append whose body drips: byte by byte, when it is told to."""

    def __init__(self, service: Service) -> None:
        self._socket = socket.create_connection((HOST, service.port), timeout=END_SECONDS)
        self._left = BODY
        head = f"POST /v1/sessions/slow/messages HTTP/1.1\r\nHost: b\r\nContent-Length: {len(BODY)}"
        self._socket.sendall(head.encode() + b"\r\nContent-Type: application/json\r\n\r\n")
        self.drip()
        wait_for_requests(service, 1)

    def drip(self) -> None:
        """Send the next byte."""
        self._socket.sendall(self._left[:1])
        self._left = self._left[1:]

    def finish(self) -> bytes:
        """Send the rest; return the answer."""
        self._socket.sendall(self._left)
        return self.answer()

    def answer(self) -> bytes:
        """Return all that comes until the service hangs up."""
        answer = b""
        while part := self._socket.recv(65_536):
            answer += part
        return answer

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
