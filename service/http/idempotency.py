"""Idempotency-Key: which calls are one and the same, and which of them run in this process.

What a call ended with is remembered with its session, by the script that did it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

from service.errors import BadInput, Conflict, Fault
from service.http.call import Call
from service.writes import Idempotency

HEADER = "idempotency-key"
_KEY = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")
_DIGEST_BYTES = 16


@contextmanager
def once(call: Call, body: bytes = b"") -> Iterator[Idempotency | None]:
    """Keep a keyed call from running twice at a time; None if the caller sent no key.

    Raises BadInput for a key that cannot be read, Conflict while the first call still runs.
    """
    idempotency = _idempotency(call, body)
    if idempotency is None:
        yield None
        return
    running, entry = call.parts["running"], (call.ref, idempotency.key)
    if entry in running:
        words = "A call with this Idempotency-Key is still running: send it again in a moment."
        raise Conflict(words, code="idempotency_in_progress")
    running.add(entry)
    try:
        yield idempotency
    finally:
        running.discard(entry)


def _idempotency(call: Call, body: bytes) -> Idempotency | None:
    keys = call.request.headers.getlist(HEADER)
    if not keys:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        reason = "must be 1 to 255 printable characters of ASCII, once"
        raise BadInput("The Idempotency-Key cannot be read.", Fault(f"/headers/{HEADER}", reason))
    scope = call.request.scope
    target = (call.request.method.encode(), scope["raw_path"], scope["query_string"])
    return Idempotency(_digest(keys[0].encode()), _digest(b"\n".join((*target, body))))


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES).digest()
