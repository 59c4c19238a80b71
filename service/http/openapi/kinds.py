"""Kinds of operations: the headers that they read and tell, and the errors they can meet."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What all operations of a kind have; `problems` are statuses."""

    sent: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    problems: tuple[int, ...] = ()


_CONDITIONS = ("If-Match", "If-None-Match")
_EXPIRY = ("Session-Expires", "Session-TTL")

PLAIN = Kind()
PROBE = Kind(told=("Cache-Control",))
READ = Kind(
    sent=(*_CONDITIONS, "Cache-Control"),
    told=("ETag", *_EXPIRY, "Age"),
    problems=(412, 507),  # what waits has to find room first
)
WRITE = Kind(
    sent=(*_CONDITIONS, "Lease-Token"),
    told=("ETag", *_EXPIRY, "Durability"),
    problems=(412, 423, 507),
)
DELETE = Kind(sent=WRITE.sent, told=WRITE.told, problems=WRITE.problems)
BEHIND = Kind(
    sent=(*WRITE.sent, "Prefer"),
    told=(*WRITE.told, "Preference-Applied"),
    problems=WRITE.problems,
)
KEYED = Kind(
    sent=(*BEHIND.sent, "Idempotency-Key"),
    told=(*BEHIND.told, "Idempotency-Replayed"),
    problems=(*BEHIND.problems, 409, 422),
)
KEYED_DELETE = Kind(
    sent=(*DELETE.sent, "Idempotency-Key"),
    told=(*DELETE.told, "Idempotency-Replayed"),
    problems=(*DELETE.problems, 409, 422),
)
LEASE = Kind(told=("Durability",))
HELD_LEASE = Kind(sent=("Lease-Token",), told=("Durability",), problems=(409,))
