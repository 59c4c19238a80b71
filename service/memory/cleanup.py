"""One run of a tier: every lever in its order, measured, and told in the log.

The three lines with a sign are those of the system that Ballast replaces, byte for byte: alerts
that people have set on them go on working.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from service.clock import Clock
from service.memory.levers import Lever, Relief
from service.memory.tiers import is_above
from service.vitals import Cleanup, LeverReport, MemoryReading, Tier

LOG = logging.getLogger("ballast.memory")
MIB = 1_048_576
# A lever that hangs may not take the governor with it.
LEVER_SECONDS = 5.0
IDLE_WARNING_SECONDS = 3_600.0
MOST_RUNS_RESTED = 16


@dataclass(frozen=True, slots=True)
class Moment:
    """When it was, by both clocks, and the bytes that were in use then."""

    seconds: float
    unix_ms: int
    used_bytes: int

    @classmethod
    def of(cls, clock: Clock, used_bytes: int) -> Self:
        """Take it now."""
        return cls(clock.monotonic(), clock.unix_ms(), used_bytes)


def warn_of_use(reading: MemoryReading) -> None:
    """Say how much of the quota is in use: percent, and whole MiB."""
    percent, used_mib = reading.fraction * 100, round(reading.used_bytes / MIB)
    LOG.warning("⚠️ Memory usage high: %.1f%% (%d MB)", percent, used_mib)


def announce(tier: Tier) -> None:
    """Say which cleanup begins."""
    if tier is Tier.EMERGENCY:
        LOG.warning("🚨 Memory usage critical! Running emergency cleanup...")
    else:
        LOG.info("🧹 Running standard memory cleanup...")


def conclude(
    relief: Relief,
    reports: tuple[LeverReport, ...],
    *,
    began: Moment,
    ended: Moment,
) -> Cleanup:
    """Sum up a run, and say what it brought: what the use has fallen by."""
    cleanup = Cleanup(
        tier=relief.tier,
        at_ms=began.unix_ms,
        requested=relief.requested,
        levers=reports,
        freed_bytes=max(0, began.used_bytes - ended.used_bytes),
        ms=(ended.seconds - began.seconds) * 1_000,
    )
    LOG.info("Memory cleanup freed %d bytes in %.1f ms", cleanup.freed_bytes, cleanup.ms)
    return cleanup


@dataclass(slots=True)
class _Rest:
    """A lever that brings nothing is left out of the next run, then of 2, of 4, up to 16."""

    runs: int = 0
    left: int = 0

    def note(self, *, is_idle: bool) -> None:
        self.runs = min(max(1, self.runs * 2), MOST_RUNS_RESTED) if is_idle else 0
        self.left = self.runs

    def count_down(self) -> bool:
        """Count a run; return whether it rests in this one."""
        if self.left == 0:
            return False
        self.left -= 1
        return True


class Levers:
    """The levers of a process, pulled one after the other."""

    def __init__(
        self, levers: Sequence[Lever], used_bytes: Callable[[], int], clock: Clock
    ) -> None:
        self._levers = tuple(levers)
        self._used_bytes = used_bytes
        self._clock = clock
        self._rests = {lever.name: _Rest() for lever in self._levers}
        self._warned_at: dict[str, float] = {}
        self._failing: set[str] = set()
        self.failures = 0

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of those that cannot work in this process."""
        return tuple(lever.name for lever in self._levers if not lever.available())

    def estimate(self, relief: Relief, used_bytes: int) -> tuple[LeverReport, ...]:
        """Say of each lever what it would free while `used_bytes` are in use, and do nothing."""
        return tuple(
            LeverReport(
                name=lever.name,
                available=lever.available(),
                freed_bytes=lever.estimate(relief) if lever.available() else 0,
                before_bytes=used_bytes,
                after_bytes=used_bytes,
            )
            for lever in self._of(relief.tier)
        )

    async def pull(self, relief: Relief) -> tuple[LeverReport, ...]:
        """Pull all that are available; one that fails does not keep the others from running."""
        levers, reports = self._of(relief.tier), list[LeverReport]()
        resting = self._resting(levers, relief)
        for lever in levers:
            # What others have let go may be what this one gives back: then it does not rest.
            has_cause = any(report.freed_bytes for report in reports)
            is_resting = lever.name in resting and not has_cause
            reports.append(await self._report(lever, relief, is_resting=is_resting))
        return tuple(reports)

    def _of(self, tier: Tier) -> list[Lever]:
        return [lever for lever in self._levers if not is_above(lever.tier, tier)]

    def _resting(self, levers: Sequence[Lever], relief: Relief) -> set[str]:
        """Names of those that rest in this run: none in an emergency, nor when a person asks."""
        if relief.tier is Tier.EMERGENCY or relief.requested:
            return set()
        there = [lever.name for lever in levers if lever.available()]
        resting = {name for name in there if self._rests[name].count_down()}
        # A run of none would be a lie; how seldom there are runs is the pace's part.
        return resting if len(resting) < len(there) else set()

    async def _report(self, lever: Lever, relief: Relief, *, is_resting: bool) -> LeverReport:
        before_bytes, began = self._used_bytes(), self._clock.monotonic()
        is_there = lever.available()
        freed_bytes = await self._run(lever, relief) if is_there and not is_resting else 0
        return LeverReport(
            name=lever.name,
            available=is_there,
            freed_bytes=freed_bytes,
            before_bytes=before_bytes,
            after_bytes=self._used_bytes(),
            ms=(self._clock.monotonic() - began) * 1_000,
            is_resting=is_resting,
        )

    async def _run(self, lever: Lever, relief: Relief) -> int:
        """Bytes that the lever freed; 0 if it failed, which is counted and logged."""
        freed_bytes = 0
        try:
            async with asyncio.timeout(LEVER_SECONDS):
                freed_bytes = max(0, await lever.run(relief))
        except Exception:
            self.failures += 1
            if lever.name not in self._failing:
                LOG.exception("Memory lever %s failed", lever.name)
            self._failing.add(lever.name)
        else:
            self._failing.discard(lever.name)
        self._rests[lever.name].note(is_idle=freed_bytes == 0)
        if freed_bytes == 0:
            self._warn_of_idleness(lever.name, self._clock.monotonic())
        return freed_bytes

    def _warn_of_idleness(self, name: str, now: float) -> None:
        """Warn of a lever that freed nothing, once an hour at most."""
        warned_at = self._warned_at.get(name)
        if warned_at is None or now - warned_at >= IDLE_WARNING_SECONDS:
            self._warned_at[name] = now
            LOG.warning("Memory lever %s freed nothing", name)
