"""What this process uses of its quota, sampled ten to twenty times a second in 2 us.

In order: the figures of the control group that set the quota (anonymous memory + swap, so that the
page cache of a written file does not count), else PSS + swap of the process tree, else its RSS.
"""

import contextlib
from pathlib import Path
from typing import Protocol, Self

from service.clock import Clock, SystemClock
from service.memory.group_usage import Cgroup1Usage, Cgroup2Usage, FreshUsage, GroupUsage
from service.memory.quota import Quota, QuotaSource
from service.memory.tree_usage import TreeUsage
from service.vitals import MemoryReading


class UsageSource(Protocol):
    """One way to know the bytes in use."""

    @property
    def name(self) -> str:
        """The word for it in /health."""
        ...

    @property
    def degraded(self) -> tuple[str, ...]:
        """What it cannot see, in words of /health."""
        ...

    def read(self) -> int:
        """Bytes in use now, in microseconds; called on the event loop."""
        ...

    async def correct(self) -> None:
        """Replace what was estimated by what is exact; the event loop goes on meanwhile."""
        ...

    def close(self) -> None:
        """Give back what is kept open."""
        ...


class UsageProbe:
    """What the governor asks: one sample as a `MemoryReading`."""

    def __init__(self, source: UsageSource, quota: Quota) -> None:
        self._source = source
        self._quota = quota

    @property
    def degraded(self) -> tuple[str, ...]:
        """What the source cannot see, in words of /health."""
        return self._source.degraded

    def read(self) -> MemoryReading:
        """Sample now."""
        return MemoryReading(
            used_bytes=self._source.read(),
            quota_bytes=self._quota.bytes,
            usage_source=self._source.name,
            quota_source=self._quota.source,
        )

    def used_bytes(self) -> int:
        """Sample now, the bytes alone: what levers measure themselves by."""
        return self._source.read()

    async def correct(self) -> None:
        """Make the next samples exact again; the event loop goes on meanwhile."""
        await self._source.correct()

    def close(self) -> None:
        """Give back what is kept open."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_probe(quota: Quota, *, clock: Clock | None = None, root: Path = Path("/")) -> UsageProbe:
    """Open the best source of usage that there is for `quota`; the caller closes it."""
    clock, group = clock or SystemClock(), _group_usage(quota)
    source = TreeUsage(clock, root) if group is None else FreshUsage(group, clock, root)
    return UsageProbe(source, quota)


def _group_usage(quota: Quota) -> GroupUsage | None:
    """The group that limits us; None where its figures cannot be read, as on some platforms."""
    if quota.group is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        if quota.source is QuotaSource.CGROUP2:
            return Cgroup2Usage(quota.group)
        return Cgroup1Usage(quota.group)
    return None
