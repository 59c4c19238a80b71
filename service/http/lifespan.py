"""What the lifespan hands to every request."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypedDict

from service.backups import Backups
from service.http.auth import Keyring
from service.http.verdict import HealthInputs
from service.leases import Leases
from service.memory.admission import Admission
from service.memory.governor import Governor
from service.memory.listeners import Listeners
from service.model import Limits, Listing, Namespace, SessionRef
from service.sessions import Sessions
from service.vitals import StoreStatus

Running = set[tuple[SessionRef, bytes]]
"""Calls with an Idempotency-Key that are under way in this process: session, digest of the key."""


@dataclass(slots=True)
class Stopping:
    """Set by the first SIGTERM: no new work is taken, what runs is finished.

    `since`: monotonic seconds of that moment; None if there was no signal.
    """

    is_set: bool = False
    since: float | None = None


class Directory(Protocol):
    """Where the sessions of a namespace are found by how their ids begin."""

    async def page(
        self, namespace: Namespace, prefix: str, limit: int, cursor: str | None
    ) -> Listing:
        """Return at most `limit` sessions, maybe none. Raises BadInput for the cursor."""
        ...


class LifespanState(TypedDict):
    """The parts that handlers use, built by `create_app`."""

    sessions: Sessions
    backups: Backups
    leases: Leases
    directory: Directory
    keyring: Keyring
    limits: Limits
    running: Running
    default_ttl_ms: int
    default_max_messages: int
    admission: Admission
    listeners: Listeners
    draining: asyncio.Semaphore
    stopping: Stopping
    counters: Counter[str]
    governor: Governor
    store_status: Callable[[], StoreStatus]
    health_inputs: Callable[[], HealthInputs]
