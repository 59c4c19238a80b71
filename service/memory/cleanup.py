"""One run of a tier: every lever in its order, measured, and told in the log.

The three lines with a sign are those of the system that Ballast replaces, byte for byte: alerts
that people have set on them go on working.
"""

import asyncio
import logging
from collections.abc import Sequence

from service.clock import Clock
from service.memory.levers import Lever, Relief
from service.vitals import LeverReport, MemoryReading, Tier

LOG = logging.getLogger("ballast.memory")
MIB = 1_048_576
# A lever that hangs may not take the governor with it.
LEVER_SECONDS = 10.0
IDLE_WARNING_SECONDS = 3_600.0


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


def conclude(freed_bytes: int, ms: float) -> None:
    """Say what a cleanup brought."""
    LOG.info("Memory cleanup freed %d bytes in %.1f ms", freed_bytes, ms)


class Levers:
    """The levers of a process, pulled one after the other."""

    def __init__(self, levers: Sequence[Lever], clock: Clock) -> None:
        self._levers = tuple(levers)
        self._clock = clock
        self._warned_at: dict[str, float] = {}
        self.failures = 0

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of those that cannot work in this process."""
        return tuple(lever.name for lever in self._levers if not lever.available())

    async def pull(self, relief: Relief) -> tuple[LeverReport, ...]:
        """Pull all that are available; one that fails does not keep the others from running."""
        return tuple([await self._report(lever, relief) for lever in self._levers])

    async def _report(self, lever: Lever, relief: Relief) -> LeverReport:
        if not lever.available():
            return LeverReport(name=lever.name, available=False, freed_bytes=0, ms=0.0)
        began = self._clock.monotonic()
        freed_bytes = await self._run(lever, relief)
        ended = self._clock.monotonic()
        if freed_bytes == 0:
            self._warn_of_idleness(lever.name, ended)
        ms = (ended - began) * 1_000
        return LeverReport(name=lever.name, available=True, freed_bytes=freed_bytes, ms=ms)

    async def _run(self, lever: Lever, relief: Relief) -> int:
        """Bytes that the lever freed; 0 if it failed, which is counted and logged."""
        try:
            async with asyncio.timeout(LEVER_SECONDS):
                return max(0, await lever.run(relief))
        except Exception:
            self.failures += 1
            LOG.exception("Memory lever %s failed", lever.name)
            return 0

    def _warn_of_idleness(self, name: str, now: float) -> None:
        """Warn of a lever that freed nothing, once an hour at most."""
        warned_at = self._warned_at.get(name)
        if warned_at is None or now - warned_at >= IDLE_WARNING_SECONDS:
            self._warned_at[name] = now
            LOG.warning("Memory lever %s freed nothing", name)
