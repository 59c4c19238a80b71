"""Time that stands still until it is moved, and memory that answers to eviction."""

from collections.abc import Callable
from dataclasses import dataclass, field

from service.memory.levers import Relief
from service.vitals import MemoryReading, Tier

MIB = 1_048_576


@dataclass
class FakeClock:
    """Both clocks of the service, moved by hand."""

    seconds: float = 1_000.0

    def monotonic(self) -> float:
        return self.seconds

    def unix_ms(self) -> int:
        return 1_743_855_132_189 + round(self.seconds * 1_000)


@dataclass
class FakeMemory:
    """A process: what it always needs, a hot tier, and freed bytes that only a trim gives back.

    `stickiness` is the part of evicted bytes that stays in the process until a trim.
    """

    quota_bytes: int = 100 * MIB
    floor_bytes: int = 10 * MIB
    hot_bytes: int = 0
    stuck_bytes: int = 0
    stickiness: float = 0.0
    lowest_bytes: int = 10**18
    error: Exception | None = None
    own_error: Exception | None = None
    corrections: int = 0
    degraded: tuple[str, ...] = ()
    asked: list[Relief] = field(default_factory=list)

    def used_bytes(self) -> int:
        return self.floor_bytes + self.hot_bytes + self.stuck_bytes

    def own_bytes(self) -> int:
        """Return what the process sees of itself when its probe fails."""
        if self.own_error is not None:
            raise self.own_error
        return self.used_bytes()

    def read(self) -> MemoryReading:
        if self.error is not None:
            raise self.error
        return MemoryReading(
            used_bytes=self.used_bytes(),
            quota_bytes=self.quota_bytes,
            usage_source="fake",
            quota_source="setting",
        )

    async def correct(self) -> None:
        self.corrections += 1

    def evict_at_once(self, relief: Relief) -> int:
        self.asked.append(relief)
        freed_bytes = min(relief.excess_bytes, self.hot_bytes)
        self.hot_bytes -= freed_bytes
        self.stuck_bytes += int(freed_bytes * self.stickiness)
        self.lowest_bytes = min(self.lowest_bytes, self.used_bytes())
        return freed_bytes


@dataclass
class FakeEvict:
    """Evicts what is asked for, in any tier."""

    memory: FakeMemory
    name: str = "evict"
    tier: Tier = Tier.STANDARD

    def available(self) -> bool:
        return True

    def estimate(self, relief: Relief) -> int:
        return min(relief.excess_bytes, self.memory.hot_bytes)

    async def run(self, relief: Relief) -> int:
        return self.memory.evict_at_once(relief)


@dataclass
class FakeTrim:
    """Gives back what is stuck."""

    memory: FakeMemory
    name: str = "trim"
    tier: Tier = Tier.STANDARD

    def available(self) -> bool:
        return True

    def estimate(self, relief: Relief) -> int:  # noqa: ARG002 # all of it, whatever is asked
        return self.memory.stuck_bytes

    async def run(self, relief: Relief) -> int:  # noqa: ARG002 # all of it, whatever is asked
        freed_bytes, self.memory.stuck_bytes = self.memory.stuck_bytes, 0
        return freed_bytes


@dataclass
class FakeLever:
    """Answers with a figure or an error, and counts how often it was asked."""

    name: str = "fake"
    freed_bytes: int = 0
    is_there: bool = True
    error: Exception | None = None
    tier: Tier = Tier.STANDARD
    meanwhile: Callable[[], None] = lambda: None
    asked: list[Relief] = field(default_factory=list)

    def available(self) -> bool:
        return self.is_there

    def estimate(self, relief: Relief) -> int:  # noqa: ARG002 # always the same
        return self.freed_bytes

    async def run(self, relief: Relief) -> int:
        self.asked.append(relief)
        if self.error is not None:
            raise self.error
        self.meanwhile()
        return self.freed_bytes
