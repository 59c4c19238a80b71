"""Idempotency-Key: which calls are one and the same, and which of them run in this process.

What a call ended with is remembered with its session, by the script that did it.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import blake2b

from service.errors import BadInput, Conflict, Fault
from service.http.call import Call
from service.writes import Idempotency

HEADER = b"idempotency-key"
_KEY = re.compile(rb"[!-~](?:[ -~]{0,253}[!-~])?")
_DIGEST_BYTES = 8
_NOT_KEYED = nullcontext()


def once(call: Call, body: bytes = b"") -> AbstractContextManager[Idempotency | None]:
    """Keep a keyed call from running twice at a time; None if the caller sent no key.

    Raises BadInput for a key that cannot be read, Conflict while the first call still runs.
    """
    return _alone(call, _idempotency(call, body)) if HEADER in call.headers else _NOT_KEYED


@contextmanager
def _alone(call: Call, idempotency: Idempotency) -> Iterator[Idempotency]:
    running, entry = call.parts["running"], (call.ref, idempotency.key)
    if entry in running:
        words = "A call with this Idempotency-Key is still running: send it again in a moment."
        raise Conflict(words, code="idempotency_in_progress")
    running.add(entry)
    try:
        yield idempotency
    finally:
        running.discard(entry)


def _idempotency(call: Call, body: bytes) -> Idempotency:
    key, scope = call.headers[HEADER], call.scope
    if HEADER in call.headers.repeated or not _KEY.fullmatch(key):
        reason = "must be 1 to 255 printable characters of ASCII, once"
        fault = Fault(f"/headers/{HEADER.decode()}", reason)
        raise BadInput("The Idempotency-Key cannot be read.", fault)
    target = (scope["method"].encode(), scope["raw_path"], scope["query_string"])
    return Idempotency(_digest(key), _digest(b"\n".join((*target, body))))


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES).digest()
