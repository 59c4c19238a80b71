"""How the quota is divided, once, at the start: all parts together stay below the emergency mark.

emergency mark = the process by itself + GROWTH_BYTES + (hot tier + journal) x FACTOR
    + replay log + what is under way
"""

from dataclasses import dataclass, replace

from service.model import Limits
from service.vitals import Watermarks

MIB = 1_048_576

GROWTH_BYTES = 8 * MIB
"""Of the process by itself: caches that fill, connections, code that is loaded late."""

FACTOR = 1.2
"""Resident bytes of the hot tier, and of the journal, to those that they account, at most (tests
hold them to that)."""

HOT_SHARE = 0.4
REST_SHARE = 0.6
"""Of the quota: the hot tier at most, and with the process by itself. An idle bot is below 70 %."""

JOURNAL_SHARE = 0.25
"""Of what is left when all others have the least that they need: the journal at most."""

LEAST_HOT_BYTES, LEAST_IN_FLIGHT_BYTES = 4 * MIB, 8 * MIB
"""Without these it could not serve at all, whatever the quota."""

REPLAY_SHARE = 1 / 32
"""Of the quota: the replay log at most."""

BODY_COST = 3
"""Bytes that a byte of a body takes: the text, what is parsed of it, what goes to Redis."""

ANSWER_COST = 4
"""Bytes of memory for a byte of a large answer: three as it is read (store/reading.py); its own."""

GROWTH_SHARE = 0.8
"""Of what may be under way: what calls that bring data may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Bytes of journal and replay log that are set; a small quota has room for less."""

    journal_bytes: int = 0
    replay_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Bytes of the process by itself, what it keeps, what is under way; limits of a call.

    Together they stay below `emergency_bytes`, unless the quota `is_tight`: too small for that.
    """

    emergency_bytes: int
    own_bytes: int
    hot_bytes: int
    replay_bytes: int
    journal_bytes: int
    in_flight_bytes: int
    is_tight: bool
    limits: Limits


def make_plan(
    quota_bytes: int,
    own_bytes: int,
    marks: Watermarks,
    limits: Limits,
    wanted: Wanted,
) -> Plan:
    """Divide a quota for a process that takes `own_bytes` by itself, and what else fits."""
    emergency_bytes = int(quota_bytes * marks.emergency_enter)
    replay_bytes = min(wanted.replay_bytes, int(quota_bytes * REPLAY_SHARE))
    room = max(0, emergency_bytes - own_bytes - GROWTH_BYTES - replay_bytes)
    spare = room - FACTOR * LEAST_HOT_BYTES - LEAST_IN_FLIGHT_BYTES
    journal_bytes = max(0, min(wanted.journal_bytes, int(JOURNAL_SHARE * spare)))
    room -= int(journal_bytes * FACTOR)
    at_rest = min(HOT_SHARE * quota_bytes, REST_SHARE * quota_bytes - own_bytes) - replay_bytes
    for_one = ANSWER_COST * max(limits.max_answer_bytes, limits.max_body_bytes)
    hot_bytes = max(LEAST_HOT_BYTES, int(min(at_rest, room - for_one) / FACTOR))
    left_bytes = room - int(hot_bytes * FACTOR)
    in_flight_bytes = max(LEAST_IN_FLIGHT_BYTES, left_bytes)
    return Plan(
        emergency_bytes=emergency_bytes,
        own_bytes=own_bytes,
        hot_bytes=hot_bytes,
        replay_bytes=replay_bytes,
        journal_bytes=journal_bytes,
        in_flight_bytes=in_flight_bytes,
        is_tight=left_bytes < LEAST_IN_FLIGHT_BYTES,
        limits=_fitting(limits, in_flight_bytes),
    )


def _fitting(limits: Limits, in_flight_bytes: int) -> Limits:
    """Return limits of one request that a process with that little room can keep."""
    answer = min(limits.max_answer_bytes, in_flight_bytes // ANSWER_COST)
    body = min(limits.max_body_bytes, int(in_flight_bytes * GROWTH_SHARE) // BODY_COST)
    return replace(
        limits,
        max_answer_bytes=answer,
        max_body_bytes=body,
        max_message_bytes=min(limits.max_message_bytes, answer // 2),
        max_value_bytes=min(limits.max_value_bytes, answer // 2),
    )
