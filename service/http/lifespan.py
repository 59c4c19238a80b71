"""What the lifespan hands to every request."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from service.http.auth import Keyring
from service.http.health import HealthInputs
from service.memory.governor import Governor
from service.model import Limits
from service.sessions import Sessions
from service.vitals import StoreStatus


@dataclass(slots=True)
class Buffers:
    """Bytes of requests and responses that are in memory now."""

    held: int = 0


@dataclass(slots=True)
class Stopping:
    """Set by the first SIGTERM: no new work is taken, what runs is finished."""

    is_set: bool = False


class LifespanState(TypedDict):
    """The parts that handlers use, built by `create_app`."""

    sessions: Sessions
    keyring: Keyring
    limits: Limits
    default_ttl_ms: int
    default_max_messages: int
    buffers: Buffers
    stopping: Stopping
    counters: Counter[str]
    governor: Governor
    store_status: Callable[[], StoreStatus]
    health_inputs: Callable[[], HealthInputs]
