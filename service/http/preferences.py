"""Prefer: respond-async (RFC 7240): a write that is answered before Redis has it."""

import re

from service.batching import Write
from service.errors import BadInput, Fault
from service.http.answers import REPLAYED
from service.http.call import Call
from service.http.headers import Line
from service.writes import StateWrite

PREFER = b"prefer"
ACCEPTED: tuple[Line, ...] = (
    (b"preference-applied", b"respond-async"),
    (b"durability", b"memory"),
)

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def write_behind(call: Call, write: Write) -> tuple[Line, ...] | None:
    """Let a write wait in the journal, if its caller prefers that; None = it does not wait.

    Returns the headers of the answer. Raises BadInput if Redis would have to judge it first,
    Unavailable if the journal has no room, Unprocessable if its key is another waiting call's.
    """
    if PREFER not in call.headers or not prefers_async(call.headers.text(PREFER)):
        return None
    journal = call.parts["sessions"].journal
    if _asks_redis(write) or not journal.fits(write):
        return None
    if call.is_conditional:
        reason = "cannot be respond-async with If-Match, If-None-Match or Lease-Token"
        fault = Fault("/headers/prefer", reason)
        raise BadInput("Whether that may be written only Redis knows: wait for its answer.", fault)
    return ACCEPTED if journal.add(call.ref, write) else (*ACCEPTED, REPLAYED)


def prefers_async(text: str) -> bool:
    """Whether respond-async is among the preferences of a Prefer header (RFC 7240, 2 and 4.1).

    Of a preference that is there twice the first counts. What cannot be read is ignored.
    """
    plain = _QUOTED.sub(lambda quoted: "x" if quoted[1] else "", text)
    if '"' in plain:
        return False
    for preference in plain.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "respond-async":
            return not value.strip()
    return False


def _asks_redis(write: Write) -> bool:
    return isinstance(write, StateWrite) and bool(write.gets or write.merges)
