"""Fills a real hot tier as a storm does, lets the governor empty it, and watches the event loop."""

import argparse
import asyncio
import gc
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from service.clock import SystemClock
from service.hot import Entry, HotTier
from service.memory.governor import Governor, Hooks
from service.memory.levers import Collect, Evict, MallocTrim, freeze_heap
from service.memory.libc import libc
from service.memory.machine import own_rss_bytes, read_host
from service.memory.policy import Policy
from service.memory.quota import Quota, QuotaSource, read_quota
from service.memory.usage import UsageProbe, open_probe
from service.model import ETag, Namespace, Session, SessionId, SessionRef, Touch
from service.vitals import Cleanup, Tier
from service.writes import Append, Appended

MIB = 1_048_576
M_MMAP_THRESHOLD = -3
RUNS = 20
HELD_BYTES = 150 * MIB
BUDGET_BYTES = 200 * MIB
MESSAGE_BYTES = (200, 600, 2_000, 6_000, 16_384)
BODY_BYTES = (16_384, 262_144, MIB, 4 * MIB)
OPEN_CHATS, GOES_ON, BODY_EACH = 64, 0.8, 0.1
SAMPLES = 5_000
STEP_BYTES = 32 * MIB
SESSIONS = 50_000
CONTROL_SECONDS = 0.05
"""As long as a clean-up: what gaps there are without one, because others use the machine."""


@dataclass(slots=True)
class Storm:
    """Chats that grow in turns, among bodies that come and go."""

    hot: HotTier
    random: Random = field(default_factory=lambda: Random(1))  # noqa: S311 # data, no secret
    begun: int = 0

    def fill(self) -> None:
        """Append to chats at random, each of which ends some time, until so many bytes are held."""
        chats: list[tuple[SessionRef, Entry, int]] = []
        while self.hot.status.bytes < HELD_BYTES:
            if self.random.random() < BODY_EACH:
                bytes(self.random.choice(BODY_BYTES)).swapcase()
            if len(chats) < OPEN_CHATS:
                self.begun += 1
                chats.append(new_chat(self.begun))
            chat = grown(chats.pop(self.random.randrange(len(chats))), self.random)
            self._keep(chat)
            if self.random.random() < GOES_ON:
                chats.append(chat)

    def _keep(self, chat: tuple[SessionRef, Entry, int]) -> None:
        ref, entry, _ = chat
        fill = self.hot.begin_fill(ref)
        self.hot.created(ref, entry, fill)
        self.hot.end_fill(ref, fill)


def new_chat(number: int) -> tuple[SessionRef, Entry, int]:
    """Return a chat without messages."""
    session = _session(number, 0)
    ref = SessionRef(namespace=Namespace("default"), id=session.id)
    return ref, Entry.of(session, 0, 0.0), 0


def grown(chat: tuple[SessionRef, Entry, int], random: Random) -> tuple[SessionRef, Entry, int]:
    """Return the chat with one message more, of a length that is drawn."""
    ref, entry, count = chat
    count += 1
    text = b'{"text":"%s"}' % random.randbytes(random.choice(MESSAGE_BYTES) // 2).hex().encode()
    appended = Appended(
        session=_session(0, count),
        now_ms=0,
        changed=True,
        tail=count,
        count=1,
        at_ms=0,
        last_seq=count,
        first_seq_held=1,
        last_seq_held=count,
        duplicates=(),
    )
    return ref, entry.appended(Append(messages=(text,), digests=(b"",)), appended, 0.0), count


def _session(number: int, messages: int) -> Session:
    return Session(
        id=SessionId(f"chat-{number}"),
        etag=ETag(gen="gen", rev=1),
        created_at_ms=0,
        updated_at_ms=0,
        renewed_at_ms=0,
        ttl_ms=None,
        touch=Touch.WRITE,
        max_age_ms=None,
        max_messages=1_000,
        message_count=messages,
        state_key_count=0,
    )


class TimedLibrary:
    """The C library's trim, with the CPU seconds of each: as long it may hold malloc's lock."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def malloc_trim(self, pad: object) -> None:
        """Trim; called in a thread."""
        began = time.thread_time()
        libc().malloc_trim(pad)
        self.seconds.append(time.thread_time() - began)


class LoopWatch:
    """Seconds between two turns of the event loop, noted by a task that asks for nothing else."""

    def __init__(self) -> None:
        self.gaps: list[float] = []

    async def run(self) -> None:
        """Note them for ever."""
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            bytes(1_500)  # what serves requests asks malloc, too
            now = time.perf_counter()
            self.gaps.append(now - last)
            last = now


@dataclass(frozen=True, slots=True)
class Run:
    """One clean-up: its report, the longest gap of the loop, and bytes before and after."""

    cleanup: Cleanup
    gap_seconds: float
    idle_gap_seconds: float
    evicted_bytes: int
    returned_bytes: int


async def relieve(governor: Governor, hot: HotTier, tier: Tier) -> Run:
    """Let the governor run a tier, and watch."""
    watch, held_bytes, before_bytes = LoopWatch(), hot.status.bytes, own_rss_bytes()
    watching = asyncio.create_task(watch.run())
    await asyncio.sleep(CONTROL_SECONDS)
    idle_gap_seconds = max(watch.gaps)
    watch.gaps.clear()
    cleanup = await governor.relieve(tier, dry_run=False)
    watching.cancel()
    return Run(
        cleanup,
        max(watch.gaps),
        idle_gap_seconds,
        held_bytes - hot.status.bytes,
        before_bytes - own_rss_bytes(),
    )


async def run_storms(tier: Tier, library: TimedLibrary) -> list[Run]:
    """Fill and empty a hot tier several times."""
    clock, hot = SystemClock(), HotTier(BUDGET_BYTES)
    with open_probe(Quota(bytes=512 * MIB, source=QuotaSource.SETTING)) as probe:
        trim = MallocTrim(probe.used_bytes, library)
        evict = Evict(
            hot.evict,
            lambda: hot.status.bytes,
            floor_bytes=BUDGET_BYTES // 10,
            give_back=trim.give_back,
            clock=clock,
        )
        levers = (evict, Collect(probe.used_bytes), trim)
        governor = Governor(probe, levers, clock=clock, policy=Policy())
        storm, runs = Storm(hot), []
        freeze_heap()
        for _ in range(RUNS):
            storm.fill()
            await governor.tick()
            runs.append(await relieve(governor, hot, tier))
    return runs


def show_runs(tier: Tier, runs: list[Run]) -> None:
    """Print what came back, and what it cost."""
    gaps = [run.gap_seconds * 1_000 for run in runs]
    idle = [run.idle_gap_seconds * 1_000 for run in runs]
    evicted = sum(run.evicted_bytes for run in runs)
    returned = sum(run.returned_bytes for run in runs)
    print(
        f"{tier}: {len(runs)} runs, {evicted / len(runs) / MIB:.0f} MB evicted in each, "
        f"{returned / evicted:.0%} of it returned to the system, "
        f"{statistics.median(run.cleanup.ms for run in runs):.0f} ms; longest gap of the event "
        f"loop: median {statistics.median(gaps):.1f}, max {max(gaps):.1f} ms; in as long a time "
        f"without a run: {statistics.median(idle):.1f}, {max(idle):.1f} ms"
    )


def show_trims(seconds: list[float]) -> None:
    """Print how long malloc's lock may have been held, whatever else the machine did."""
    milliseconds = sorted(each * 1_000 for each in seconds)
    print(
        f"  {len(milliseconds)} trims, CPU of one: median {statistics.median(milliseconds):.1f}, "
        f"p99 {milliseconds[int(0.99 * len(milliseconds))]:.1f}, max {milliseconds[-1]:.1f} ms"
    )


def show_sample(name: str, probe: UsageProbe) -> None:
    """Print what a sample costs."""
    began = time.process_time()
    costs = [_microseconds(probe.read) for _ in range(SAMPLES)]
    mean = (time.process_time() - began) / SAMPLES * 1e6
    print(
        f"sample of {probe.read().usage_source} (quota: {name}): median "
        f"{statistics.median(costs):.1f} us, mean {mean:.1f} us of CPU"
    )


def _microseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e6


def show_samples() -> None:
    """Print what a sample costs in a group, if we are in one, and of the process tree."""
    measured = read_quota(setting_mb=None, dyno_ram_mb=None, host_bytes=read_host().total_bytes)
    for quota in (measured, Quota(bytes=512 * MIB, source=QuotaSource.SETTING)):
        with open_probe(quota) as probe:
            show_sample(quota.source, probe)


def show_collection() -> None:
    """Print what a full collection costs with many sessions in the hot tier."""
    hot, random = HotTier(1 << 40), Random(1)  # noqa: S311 # data, no secret
    freeze_heap()
    for number in range(SESSIONS):
        ref, entry, _ = grown(grown(new_chat(number), random), random)
        fill = hot.begin_fill(ref)
        hot.created(ref, entry, fill)
        hot.end_fill(ref, fill)
    costs = []
    for _ in range(RUNS):
        began = time.process_time()
        gc.collect()
        costs.append((time.process_time() - began) * 1_000)
    print(f"full collection with {SESSIONS:,} sessions: median {statistics.median(costs):.1f} ms")


async def wait_for_tier(tier: Tier, step_bytes: int, random: Random) -> float:
    """Return the seconds from a step across the mark of a tier, at any time, to the tier."""
    used_bytes, marks = own_rss_bytes(), Policy().marks
    mark = marks.standard_enter if tier is Tier.STANDARD else marks.emergency_enter
    quota = Quota(bytes=int((used_bytes + step_bytes / 2) / mark), source=QuotaSource.SETTING)
    with open_probe(quota) as probe:
        reached = asyncio.Event()
        hooks = Hooks(on_reading=lambda _, now: reached.set() if now is tier else None)
        governor = Governor(probe, (), clock=SystemClock(), hooks=hooks)
        running = asyncio.create_task(governor.run())
        await asyncio.sleep(1 + random.random() / 5)
        began, step = time.perf_counter(), b"x" * step_bytes
        await reached.wait()
        seconds = time.perf_counter() - began
        running.cancel()
        del step
    return seconds


def show_changes() -> None:
    """Print how long after its mark was crossed a tier is entered."""
    random = Random(1)  # noqa: S311 # data, no secret
    for tier in (Tier.STANDARD, Tier.EMERGENCY):
        waits = [asyncio.run(wait_for_tier(tier, STEP_BYTES, random)) for _ in range(RUNS)]
        waits_ms = [seconds * 1_000 for seconds in waits]
        median, worst = statistics.median(waits_ms), max(waits_ms)
        print(f"{tier} tier after a step across its mark: median {median:.0f}, max {worst:.0f} ms")


def main() -> None:
    """Measure samples and a collection, then both tiers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mmap-threshold", type=int, help="fixed, instead of glibc's own moving")
    threshold = parser.parse_args().mmap_threshold
    if threshold:
        libc().mallopt(M_MMAP_THRESHOLD, threshold)
    logging.disable()
    show_samples()
    show_changes()
    show_collection()
    libc().malloc_trim(0)  # what that has left is not what the tiers let go
    for tier in (Tier.STANDARD, Tier.EMERGENCY):
        library = TimedLibrary()
        show_runs(tier, asyncio.run(run_storms(tier, library)))
        show_trims(library.seconds)


if __name__ == "__main__":
    main()
