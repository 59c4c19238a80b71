"""The governor: samples memory ten times a second and pulls levers before the quota is reached."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from service.clock import Clock
from service.memory.cleanup import LOG, Levers, announce, conclude, warn_of_use
from service.memory.levers import Lever, Relief
from service.memory.pace import Growth, Pace
from service.memory.tiers import DEFAULT_MARKS, TierState, advance, excess_bytes, is_above
from service.vitals import Cleanup, MemoryReading, Tier, Watermarks

INTERVAL_SECONDS = 0.1
CORRECT_SECONDS = 5.0
LATE_SECONDS = 2.0
LATE_INTERVALS = 10
RESCUE_SECONDS = 10.0


class Probe(Protocol):
    """What the governor asks for memory in use."""

    @property
    def degraded(self) -> tuple[str, ...]:
        """What cannot be seen, in words of /health."""
        ...

    def read(self) -> MemoryReading:
        """Sample now, in microseconds."""
        ...

    async def correct(self) -> None:
        """Make the next samples exact; takes milliseconds."""
        ...


class Manager(StrEnum):
    """Which layer looks after memory."""

    ADVANCED = "advanced"
    HEALTH = "health"


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
class Policy:
    """When the governor acts, and how often it looks; not `enabled` = it only looks."""

    marks: Watermarks = DEFAULT_MARKS
    enabled: bool = True
    interval_seconds: float = INTERVAL_SECONDS

    @property
    def late_seconds(self) -> float:
        """Seconds without a successful tick after which the governor counts as late."""
        return max(LATE_SECONDS, LATE_INTERVALS * self.interval_seconds)


DEFAULT_POLICY = Policy()


class Governor:
    """Keeps the memory of this process below its quota."""

    def __init__(
        self,
        probe: Probe,
        levers: Sequence[Lever],
        *,
        clock: Clock,
        policy: Policy = DEFAULT_POLICY,
    ) -> None:
        self._probe = probe
        self._levers = Levers(levers, clock)
        self._clock = clock
        self._policy = policy
        self._state = TierState()
        self._pace = Pace()
        self._growth = Growth()
        self._reading = probe.read()
        self._peak_bytes = self._reading.used_bytes
        self._ticked_at = self._corrected_at = clock.monotonic()
        self._rescued_at: float | None = None
        self._has_rescue_failed = False
        self._is_failing = False
        self._last_action: Cleanup | None = None
        self._ticks = self._cleanups = self._freed_bytes = self._rescues = 0
        self.failures = 0

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            await self._survive(self.tick())
            await asyncio.sleep(self._policy.interval_seconds)

    async def tick(self) -> None:
        """Take one turn: sample, decide, act."""
        await self._turn()
        self._ticks += 1
        self._ticked_at = self._clock.monotonic()
        self._has_rescue_failed = False

    def is_late(self, now: float) -> bool:
        """Tell a poll of /health at `now` (monotonic seconds) that no tick has succeeded lately."""
        return now - self._ticked_at > self._policy.late_seconds

    async def rescue(self) -> None:
        """Take the turn of a governor that is late, at most once in 10 s; never raises."""
        now = self._clock.monotonic()
        is_early = self._rescued_at is not None and now - self._rescued_at < RESCUE_SECONDS
        if is_early or not self.is_late(now):
            return
        self._rescued_at = now
        self._rescues += 1
        self._has_rescue_failed = not await self._survive(self._turn())

    @property
    def status(self) -> GovernorStatus:
        """Everything that /health tells about memory; reads nothing but what is known."""
        is_late = self.is_late(self._clock.monotonic())
        return GovernorStatus(
            reading=self._reading,
            tier=self._state.tier,
            manager=Manager.HEALTH if is_late else Manager.ADVANCED,
            peak_bytes=self._peak_bytes,
            projected_seconds=self._growth.seconds_to(self._reading.quota_bytes),
            degraded=self._degraded(is_late=is_late),
            last_action=self._last_action,
            counters=self._counters(),
            is_enabled=self._policy.enabled,
            is_late=is_late,
            has_failed=is_late and self._has_rescue_failed,
        )

    async def _survive(self, turn: Coroutine[None, None, None]) -> bool:
        """Await a turn that may fail: counted, told once for each series, never passed on."""
        try:
            await turn
        except Exception:  # noqa: BLE001 # memory must be watched whatever happens
            self.failures += 1
            if not self._is_failing:
                LOG.exception("Memory governor failed, trying again")
            self._is_failing = True
            return False
        self._is_failing = False
        return True

    async def _turn(self) -> None:
        now = self._clock.monotonic()
        if now - self._corrected_at >= CORRECT_SECONDS:
            self._corrected_at = now
            await self._probe.correct()
        self._observe(now)
        relief = self._relief(now)
        if relief is not None:
            await self._act(relief)

    def _observe(self, now: float) -> None:
        """Sample, and move to the tier that the sample asks for."""
        self._take(self._probe.read())
        self._growth.add(now, self._reading.used_bytes)
        before, self._state = self._state, self._next_state(now)
        if is_above(self._state.tier, before.tier):
            self._pace.reset()
            if not self._policy.enabled:
                warn_of_use(self._reading)

    def _next_state(self, now: float) -> TierState:
        return advance(self._state, self._reading.fraction, self._policy.marks, now)

    def _take(self, reading: MemoryReading) -> None:
        self._reading = reading
        self._peak_bytes = max(self._peak_bytes, reading.used_bytes)

    def _relief(self, now: float) -> Relief | None:
        """What to ask of the levers now; None = nothing: below the mark, off, or too soon."""
        excess = excess_bytes(self._state.tier, self._reading, self._policy.marks)
        if not self._policy.enabled or excess == 0 or not self._pace.is_due(now, self._reading):
            return None
        return Relief(tier=self._state.tier, excess_bytes=excess)

    async def _act(self, relief: Relief) -> None:
        """Pull the levers; what they freed together is what the use has fallen by."""
        before, began, at_ms = self._reading, self._clock.monotonic(), self._clock.unix_ms()
        warn_of_use(before)
        announce(relief.tier)
        reports = await self._levers.pull(relief)
        self._take(self._probe.read())
        ended = self._clock.monotonic()
        self._conclude(
            Cleanup(
                tier=relief.tier,
                at_ms=at_ms,
                requested=False,
                levers=reports,
                freed_bytes=max(0, before.used_bytes - self._reading.used_bytes),
                ms=(ended - began) * 1_000,
            ),
            relief,
            ended,
        )

    def _conclude(self, cleanup: Cleanup, relief: Relief, now: float) -> None:
        """Tell and keep what a cleanup brought; it decides when the next one is due."""
        conclude(cleanup.freed_bytes, cleanup.ms)
        self._last_action = cleanup
        self._cleanups += 1
        self._freed_bytes += cleanup.freed_bytes
        self._growth.reset()
        self._pace.record(
            now,
            asked_bytes=relief.excess_bytes,
            freed_bytes=cleanup.freed_bytes,
            used_bytes=self._reading.used_bytes,
        )

    def _degraded(self, *, is_late: bool) -> tuple[str, ...]:
        levers = tuple(f"no_{name}" for name in self._levers.missing)
        governor = ("governor_late",) if is_late else ()
        failing = ("governor_failing",) if self._is_failing else ()
        return (*self._probe.degraded, *levers, *governor, *failing)

    def _counters(self) -> Mapping[str, int]:
        return {
            "memoryTicks": self._ticks,
            "memoryTickFailures": self.failures,
            "memoryCleanups": self._cleanups,
            "memoryFreedBytes": self._freed_bytes,
            "memoryLeverFailures": self._levers.failures,
            "memoryRescues": self._rescues,
        }
