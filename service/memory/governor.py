"""The governor: samples memory ten times a second and frees some before the quota is reached."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from service.clock import Clock
from service.errors import Unavailable
from service.memory.advanced import Advanced, Probe
from service.memory.cascade import Cascade, Layer, Manager, Post
from service.memory.cleanup import Levers
from service.memory.levers import Lever, Relief
from service.memory.plain import Plain, Step, collected, nothing, own_bytes, own_reading, trimmed
from service.memory.policy import DEFAULT_POLICY, Policy
from service.memory.record import OnReading, Record, ignore
from service.vitals import Cleanup, MemoryReading, Tier

RESCUE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernorStatus:
    """The governor as /health shows it; `has_failed` = neither it nor its rescue works."""

    reading: MemoryReading
    tier: Tier
    manager: Manager
    peak_bytes: int
    projected_seconds: float | None
    degraded: tuple[str, ...]
    last_action: Cleanup | None
    counters: Mapping[str, int]
    is_enabled: bool
    is_late: bool
    has_failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Functions of others: by which the lower layers work, and who is told of each sample."""

    evict: Callable[[Relief], int] = nothing
    own_bytes: Callable[[], int] = own_bytes
    on_reading: OnReading = ignore


NO_HOOKS = Hooks()


class Governor:
    """Keeps the memory of this process below its quota."""

    def __init__(
        self,
        probe: Probe,
        levers: Sequence[Lever],
        *,
        clock: Clock,
        policy: Policy = DEFAULT_POLICY,
        hooks: Hooks = NO_HOOKS,
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._policy = policy
        self._record = Record(probe.read(), policy, hooks.on_reading)
        self._levers = Levers(levers, probe.used_bytes, clock)
        self._advanced = Advanced(probe, self._levers, self._record, clock)
        self._plain = self._plain_layers(hooks)
        layers: tuple[Layer, ...] = (self._advanced, *self._plain)
        self._posts = [Post(layer, clock, policy.faults) for layer in layers]
        *loop, self._health = self._posts
        self._cascade = Cascade(loop)
        self._acting = asyncio.Lock()
        self._ticked_at = clock.monotonic()
        self._rescued_at: float | None = None
        self._has_rescue_failed = False
        self._ticks = self._rescues = 0

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            await self.tick()
            await asyncio.sleep(self.interval_seconds)

    @property
    def interval_seconds(self) -> float:
        """Seconds until the next sample."""
        return self._advanced.interval_seconds

    async def tick(self) -> None:
        """Take one turn: sample, decide, act; who works of the layers does it. Never raises."""
        if self._acting.locked():  # a requested run is on: look, and leave the levers to it
            has_worked = await self._cascade.give(lambda layer: layer.turn(may_act=False))
        else:
            async with self._acting:
                has_worked = await self._cascade.give(lambda layer: layer.turn(may_act=True))
        if has_worked:
            self._ticks += 1
            self._ticked_at = self._clock.monotonic()
            self._has_rescue_failed = False

    def is_late(self, now: float) -> bool:
        """Tell a poll of /health at `now` (monotonic seconds) that no tick has succeeded lately.

        Nor is one at work: during a cleanup, which may take longer, memory is watched as well.
        """
        return now - max(self._ticked_at, self._advanced.watched_at) > self._policy.late_seconds

    async def rescue(self) -> None:
        """Take the turn of a governor that is late, at most once in 10 s; never raises."""
        now = self._clock.monotonic()
        is_early = self._rescued_at is not None and now - self._rescued_at < RESCUE_SECONDS
        if is_early or not self.is_late(now):
            return
        self._rescued_at = now
        self._rescues += 1
        # Not held up by a turn that hangs: that is what it is for.
        works = await self._health.give(lambda layer: layer.turn(may_act=True))
        self._has_rescue_failed = not works

    async def relieve(self, tier: Tier, *, dry_run: bool) -> Cleanup:
        """Run `tier` now, because a person asks for it; a dry run only says what it would free.

        Raises Unavailable if no layer works.
        """
        relief = self._policy.requested(tier, self._record.reading)
        if dry_run:
            return self._estimate(relief)
        async with self._acting:
            has_worked = await self._cascade.give(lambda layer: layer.act(relief))
        if not has_worked or self._record.last_action is None:
            raise Unavailable("Memory cannot be freed now: read the log.", code="relief_failed")
        return self._record.last_action

    @property
    def status(self) -> GovernorStatus:
        """Everything that /health tells about memory; reads nothing but what is known."""
        is_late = self.is_late(self._clock.monotonic())
        manager = Manager.HEALTH if is_late else self._cascade.current or Manager.HEALTH
        is_advanced = manager is Manager.ADVANCED
        return GovernorStatus(
            reading=self._record.reading,
            tier=self._record.tier,
            manager=manager,
            peak_bytes=self._record.peak_bytes,
            projected_seconds=self._advanced.projected_seconds if is_advanced else None,
            degraded=self._degraded(is_late=is_late),
            last_action=self._record.last_action,
            counters=self._counters(),
            is_enabled=self._policy.enabled,
            is_late=is_late,
            has_failed=is_late and self._has_rescue_failed,
        )

    def _plain_layers(self, hooks: Hooks) -> tuple[Plain, ...]:
        """Basic, direct, and the one that a poll of /health sets off."""
        steps = (
            Step(name="evict", run=hooks.evict),
            Step(name="collect", run=collected),
            Step(name="malloc_trim", run=trimmed),
        )

        def sample_own() -> MemoryReading:
            return own_reading(self._record, hooks.own_bytes)

        layers = (
            (Manager.BASIC, self._probe.read),
            (Manager.DIRECT, sample_own),
            (Manager.HEALTH, sample_own),
        )
        return tuple(
            Plain(name, sample, steps, record=self._record, clock=self._clock)
            for name, sample in layers
        )

    def _estimate(self, relief: Relief) -> Cleanup:
        reports = self._levers.estimate(relief, self._record.reading.used_bytes)
        return Cleanup(
            tier=relief.tier,
            at_ms=self._clock.unix_ms(),
            requested=True,
            levers=reports,
            freed_bytes=sum(report.freed_bytes for report in reports),
            ms=0.0,
        )

    def _degraded(self, *, is_late: bool) -> tuple[str, ...]:
        levers = tuple(f"no_{name}" for name in self._levers.missing)
        layers = tuple(f"{name}_failed" for name in self._cascade.passed_over)
        governor = ("governor_late",) if is_late else ()
        rescue = ("health_failed",) if is_late and self._has_rescue_failed else ()
        return (*self._probe.degraded, *levers, *layers, *governor, *rescue)

    def _counters(self) -> Mapping[str, int]:
        return {
            "memoryTicks": self._ticks,
            "memoryTickFailures": sum(post.failures for post in self._posts),
            "memoryDemotions": sum(post.demotions for post in self._posts),
            "memoryCleanups": self._record.cleanups,
            "memoryFreedBytes": self._record.freed_bytes,
            "memoryLeverFailures": self._levers.failures
            + sum(layer.failures for layer in self._plain),
            "memoryHookFailures": self._record.hook_failures,
            "memoryRescues": self._rescues,
        }
