"""A process inside a memory group: says as JSON what the probes see while it uses memory."""

import asyncio
import json
import os
import sys
import time
from collections import deque
from pathlib import Path

from service.clock import SystemClock
from service.memory.governor import Governor
from service.memory.levers import Collect, Evict, MallocTrim, Relief
from service.memory.machine import read_host
from service.memory.policy import Policy
from service.memory.quota import read_quota
from service.memory.usage import UsageProbe, open_probe
from service.vitals import Tier

MIB = 1_048_576
BLOB_BYTES = 65_536
KERNEL_LAG_SECONDS = 2.1
"""How far the kernel's own figures of a group may be behind, and a little more."""


def settled(probe: UsageProbe) -> int:
    """Return the bytes in use once what the start of this process took has come to be told."""
    used, before = probe.used_bytes(), -MIB
    while abs(used - before) > MIB // 8:
        time.sleep(KERNEL_LAG_SECONDS)
        used, before = probe.used_bytes(), used
    return used


def look(counter: Path, scratch: Path) -> None:
    """Use memory in several ways; tell how the usage and the kernel's own `counter` moved."""
    quota = read_quota(setting_mb=None, dyno_ram_mb=None, host_bytes=read_host().total_bytes)
    with open_probe(quota) as probe:
        empty, empty_counter = settled(probe), int(counter.read_text())
        scratch.write_bytes(b"x" * (50 * MIB))
        written, written_counter = probe.used_bytes(), int(counter.read_text())
        blobs = [os.urandom(BLOB_BYTES) for _ in range(64 * MIB // BLOB_BYTES)]
        pin = os.urandom(BLOB_BYTES)
        full = probe.used_bytes()
        blobs.clear()
        freed = probe.used_bytes()
        relief = Relief(tier=Tier.STANDARD, excess_bytes=MIB)
        trim_bytes = asyncio.run(MallocTrim(probe.used_bytes).run(relief))
        report = {
            "quota": quota.bytes,
            "quota_source": quota.source,
            "group": str(quota.group),
            "usage_source": probe.read().usage_source,
            "moved_by_file": written - empty,
            "counter_moved_by_file": written_counter - empty_counter,
            "moved_by_blobs": full - written,
            "still_held": freed - written,
            "trim_bytes": trim_bytes,
            "left": probe.used_bytes() - written - len(pin),
        }
    sys.stdout.write(json.dumps(report))


async def grow(*, is_governed: bool) -> None:
    """Take in twice the quota at about 100 MB/s, with or without a governor that may evict."""
    hot: deque[bytes] = deque()

    def drop(wanted: int) -> int:
        freed_bytes = 0
        while hot and freed_bytes < wanted:
            freed_bytes += len(hot.popleft())
        return freed_bytes

    quota = read_quota(setting_mb=None, dyno_ram_mb=None, host_bytes=read_host().total_bytes)
    with open_probe(quota) as probe:
        clock, trim = SystemClock(), MallocTrim(probe.used_bytes)
        evict = Evict(
            drop,
            lambda: len(hot) * BLOB_BYTES,
            floor_bytes=0,
            give_back=trim.give_back,
            clock=clock,
        )
        levers = (evict, Collect(probe.used_bytes), trim)
        policy = Policy(enabled=is_governed)
        governor = Governor(probe, levers, clock=clock, policy=policy)
        task = asyncio.create_task(governor.run())
        for _ in range(2 * quota.bytes // MIB):
            hot.extend(os.urandom(BLOB_BYTES) for _ in range(MIB // BLOB_BYTES))
            await asyncio.sleep(0.01)
        task.cancel()
        report = {"peak": governor.status.peak_bytes, "held": len(hot) * BLOB_BYTES}
    sys.stdout.write(json.dumps(report))


def main(group: Path, task: str, *arguments: str) -> None:
    """Join `group` and do as told."""
    (group / "cgroup.procs").write_text(str(os.getpid()))
    if task == "look":
        look(*map(Path, arguments))
    else:
        asyncio.run(grow(is_governed=task == "grow-governed"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
