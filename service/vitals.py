"""What the parts tell of themselves, for decisions about memory and for /health."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Tier(StrEnum):
    """How hard memory presses: the process's, or that of Redis."""

    NORMAL = "normal"
    STANDARD = "standard"
    EMERGENCY = "emergency"


class MemoryFault(StrEnum):
    """What tests switch off, to see who stands in for it; `admission` = nothing is refused."""

    ADVANCED = "advanced"
    BASIC = "basic"
    DIRECT = "direct"
    HEALTH = "health"
    ADMISSION = "admission"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermarks:
    """Fractions of the quota at which a tier is entered and left (hysteresis)."""

    standard_enter: float
    standard_leave: float
    emergency_enter: float
    emergency_leave: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """One sample: what the process tree uses of what it may use, in bytes, and who said so."""

    used_bytes: int
    quota_bytes: int
    usage_source: str
    quota_source: str

    @property
    def fraction(self) -> float:
        """Used bytes as a fraction of the quota."""
        return self.used_bytes / self.quota_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountsStatus:
    """What is counted: bytes under way, how many may be, and who listens long or slowly.

    `factor`: bytes that the process has grown by, to those that are counted; None = too few.
    `is_tight`: the quota is too small for what the service needs at least.
    """

    factor: float | None
    held_bytes: int
    limit_bytes: int
    peak_bytes: int
    refused: int
    listeners: Mapping[str, int]
    oldest_listener_seconds: float
    queued_bytes: int
    listeners_closed: int
    is_tight: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HeapReading:
    """What the allocators of this process hold from the OS and what of it is in use, in bytes.

    Not exact where an allocator does not tell: then all that is held counts as in use.
    """

    rss_bytes: int
    total_bytes: int
    used_bytes: int
    is_exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """Memory of the whole host, neighbours included, in bytes."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverReport:
    """What one lever did: what it accounts as freed, the use before and after, and its time.

    `is_resting` = it was left out, because it brought nothing lately. Of a dry run `freed_bytes`
    are what it would free.
    """

    name: str
    available: bool
    freed_bytes: int = 0
    before_bytes: int = 0
    after_bytes: int = 0
    ms: float = 0.0
    is_resting: bool = False

    @property
    def returned_bytes(self) -> int:
        """Bytes that went back to the system while it ran; 0 if the use grew meanwhile."""
        return max(0, self.before_bytes - self.after_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleanup:
    """One run of a tier; `requested` if a person asked for it."""

    tier: Tier
    at_ms: int
    requested: bool
    levers: tuple[LeverReport, ...]
    freed_bytes: int
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """What the last look at Redis saw; None = not told."""

    connected: bool
    latency_ms: float | None = None
    used_memory_bytes: int | None = None
    max_memory_bytes: int | None = None
    policy: str | None = None
    persistence: str | None = None
    tls_verified: bool | None = None
    clients: int | None = None
    connections_max: int | None = None
    last_error: str | None = None
    is_tracking: bool = False
    """Whether Redis tells of every key that changes."""

    @property
    def evicts(self) -> bool:
        """Whether it deletes what it has acknowledged, rather than refusing what is new."""
        return self.max_memory_bytes is not None and self.policy not in {None, "noeviction"}

    @property
    def fraction(self) -> float | None:
        """How much is used of what may be; None if there is no limit, or it is not told."""
        if self.used_memory_bytes is None or not self.max_memory_bytes:
            return None
        return self.used_memory_bytes / self.max_memory_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayLogStatus:
    """The writes that could be played again; `since_ms`: those of this process since then.

    `dropped`: so many older ones have left, or were too large.
    """

    bytes: int = 0
    budget_bytes: int = 0
    writes: int = 0
    dropped: int = 0
    since_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What one replay has done: sessions that Redis lacked, writes of this process."""

    at_ms: int
    ms: float
    sessions: int
    replayed: int
    lost: int
    missing_processes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayStatus:
    """What could be played again, by how many processes; what was lost since the start."""

    log: ReplayLogStatus = ReplayLogStatus()
    processes: int = 1
    is_running: bool = False
    lost_writes: int = 0
    missing_processes: int = 0
    last: Recovered | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisPressureStatus:
    """How hard Redis's own memory presses, and what was dropped for that since the start.

    `keep_messages`: what a session keeps at least; None = nothing is ever dropped.
    """

    tier: Tier = Tier.NORMAL
    keep_messages: int | None = None
    dropped_messages: int = 0
    dropped_sessions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HotTierStatus:
    """The hot tier in figures: bytes of payload and how often it knew the answer."""

    bytes: int
    budget_bytes: int
    sessions: int
    hits: int
    misses: int
    evicted: int


Counters = Mapping[str, int]
