"""The first layer of the governor: all levers, growth, and a pace that follows what they bring."""

import asyncio
from typing import Protocol

from service.clock import Clock
from service.memory.cascade import Manager
from service.memory.cleanup import LOG, MIB, Levers, Moment, announce, conclude, warn_of_use
from service.memory.growth import Growth, early_tier, seconds_to_quota
from service.memory.levers import Relief
from service.memory.pace import Pace
from service.memory.record import Record
from service.memory.tiers import is_above, next_tier
from service.vitals import LeverReport, MemoryReading

LEAST_INTERVAL_SECONDS = 0.05
CORRECT_SECONDS = 5.0

ATTENTIVE_FRACTION = 0.5
ATTENTIVE_SECONDS = 10.0
"""Above half of the quota, or when it would be full so soon, samples come twice as often."""


class Probe(Protocol):
    """What the governor asks for memory in use."""

    @property
    def degraded(self) -> tuple[str, ...]:
        """What cannot be seen, in words of /health."""
        ...

    def read(self) -> MemoryReading:
        """Sample now, in microseconds."""
        ...

    def used_bytes(self) -> int:
        """Sample now, the bytes alone."""
        ...

    async def correct(self) -> None:
        """Make the next samples exact; takes milliseconds."""
        ...


class Advanced:
    """All levers, growth, and a pace that follows what they bring."""

    name = Manager.ADVANCED

    def __init__(self, probe: Probe, levers: Levers, record: Record, clock: Clock) -> None:
        self._probe = probe
        self._levers = levers
        self._record = record
        self._clock = clock
        self._policy = record.policy
        self._pace = Pace()
        self._growth = Growth()
        self._seconds_left: float | None = None
        self.watched_at = self._corrected_at = clock.monotonic()

    @property
    def interval_seconds(self) -> float:
        """Seconds until the next sample: half as many while memory is filling."""
        interval = self._policy.interval_seconds
        is_soon = self._seconds_left is not None and self._seconds_left < ATTENTIVE_SECONDS
        if is_soon or self._record.reading.fraction > ATTENTIVE_FRACTION:
            return min(interval, max(interval / 2, LEAST_INTERVAL_SECONDS))
        return interval

    @property
    def projected_seconds(self) -> float | None:
        """Seconds to the quota at the growth of the last 10 s; None = not growing."""
        return self._growth.seconds_to(self._record.reading.quota_bytes)

    async def turn(self, *, may_act: bool) -> None:
        """Sample, decide, and pull the levers if they are due."""
        now = self._clock.monotonic()
        if now - self._corrected_at >= CORRECT_SECONDS:
            self._corrected_at = now
            await self._probe.correct()
        self._observe()
        relief = self._record.relief
        if may_act and relief is not None and self._pace.is_due(now, self._record.reading):
            await self.act(relief)

    async def act(self, relief: Relief) -> None:
        """Pull the levers; what they freed together is what the use has fallen by."""
        began = Moment.of(self._clock, self._record.reading.used_bytes)
        warn_of_use(self._record.reading)
        announce(relief.tier)
        reports = await self._pull(relief)
        self._observe()
        ended = Moment.of(self._clock, self._record.reading.used_bytes)
        cleanup = conclude(relief, reports, began=began, ended=ended)
        self._record.conclude(cleanup)
        self._growth.reset()
        if is_above(self._record.tier, relief.tier):
            return  # it rose meanwhile: the next run waits for nobody
        self._pace.record(
            ended.seconds,
            asked_bytes=relief.excess_bytes,
            freed_bytes=cleanup.freed_bytes,
            used_bytes=ended.used_bytes,
            cost_seconds=ended.seconds - began.seconds,
        )

    async def _pull(self, relief: Relief) -> tuple[LeverReport, ...]:
        """Pull the levers; a tier that is reached meanwhile is seen, and told, at once."""
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            reports = await self._levers.pull(relief)
            watching.cancel()
        return reports

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.interval_seconds)
            self._observe()
            self.watched_at = self._clock.monotonic()

    def _observe(self) -> None:
        """Sample, and move to the tier that the sample or its growth asks for."""
        now = self._clock.monotonic()
        reading, before = self._probe.read(), self._record.tier
        self._growth.add(now, reading.used_bytes)
        rate = self._growth.recent_rate()
        self._seconds_left = seconds_to_quota(reading, rate)
        early = early_tier(reading.fraction, self._seconds_left, self._policy.marks)
        if not self._record.observe(reading, now, early=early):
            return
        self._pace.reset()
        if is_above(early, next_tier(before, reading.fraction, self._policy.marks)):
            self._tell_of_growth(rate)
        if not self._policy.enabled:
            warn_of_use(reading)

    def _tell_of_growth(self, rate: float) -> None:
        """Say why the tier is entered below its mark."""
        LOG.warning(
            "Memory grows by %.1f MB/s and would reach the quota in %.1f s: "
            "%s tier entered at %.1f%%",
            rate / MIB,
            self._seconds_left,
            self._record.tier,
            self._record.reading.fraction * 100,
        )
