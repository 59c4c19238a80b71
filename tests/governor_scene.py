"""A governor over memory that answers to it, in a time that only a test moves."""

from collections.abc import Callable
from dataclasses import dataclass, field

from service.memory.governor import Governor, GovernorStatus, Hooks
from service.memory.levers import Lever
from service.memory.policy import Policy
from service.vitals import MemoryReading, Tier
from tests.memory_fakes import MIB, FakeClock, FakeEvict, FakeMemory, FakeTrim

NORMAL, STANDARD, EMERGENCY = Tier.NORMAL, Tier.STANDARD, Tier.EMERGENCY


@dataclass
class Scene:
    """A governor over memory that answers to it, in a time that only `pass_seconds` moves."""

    memory: FakeMemory = field(default_factory=FakeMemory)
    clock: FakeClock = field(default_factory=FakeClock)
    levers: list[Lever] = field(default_factory=list)
    policy: Policy = field(default_factory=Policy)
    tiers: list[Tier] = field(default_factory=list)
    told: list[tuple[MemoryReading, Tier]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.levers = self.levers or [FakeEvict(self.memory), FakeTrim(self.memory)]
        hooks = Hooks(
            evict=self.memory.evict_at_once,
            own_bytes=self.memory.own_bytes,
            on_reading=lambda reading, tier: self.told.append((reading, tier)),
        )
        self.governor = Governor(
            self.memory, self.levers, clock=self.clock, policy=self.policy, hooks=hooks
        )

    async def pass_seconds(
        self,
        seconds: float,
        load: Callable[[], None] = lambda: None,
    ) -> None:
        """Ten ticks a second; `load` does before each what the service would do meanwhile."""
        for _ in range(round(seconds * 10)):
            self.clock.seconds += 0.1
            load()
            await self.governor.tick()
            self.tiers.append(self.governor.status.tier)

    @property
    def changes(self) -> list[Tier]:
        """The tiers in the order in which they were entered."""
        pairs = zip([NORMAL, *self.tiers], self.tiers, strict=False)
        return [after for before, after in pairs if after is not before]

    @property
    def cleanups(self) -> int:
        return self.status().counters["memoryCleanups"]

    def status(self) -> GovernorStatus:
        return self.governor.status


def scene(*, floor_bytes: int = 10 * MIB, hot_bytes: int = 0) -> Scene:
    return Scene(FakeMemory(floor_bytes=floor_bytes, hot_bytes=hot_bytes))
