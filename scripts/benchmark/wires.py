"""The speed of everything twice: with Redis next door, and at the end of a slow wire."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from scripts.benchmark.comparison import findings
from scripts.benchmark.figures import Findings, join
from scripts.benchmark.library_speed import measure_libraries
from scripts.benchmark.size import Size
from scripts.benchmark.speed import Plan, Samples, measure
from scripts.benchmark.stage import filled_redis, stage

ROUND_TRIP_MS = 1.0

Tell = Callable[[str], None]


def measure_speed(only: Sequence[str], plan: Plan, size: Size, tell: Tell) -> Findings:
    """Compare without and with a wire to Redis, on the same data."""
    direct: Samples = {}
    delayed: Samples = {}
    round_trips: list[float] = []
    tables = []
    with filled_redis(size.cold_sessions) as server:
        if "speed" in only:
            with stage(server, delay_ms=0) as it:
                round_trips = [it.round_trip_us() for _ in range(plan.rounds)]
                direct = measure(it, plan, tell)
                if size.has_libraries:
                    tables = [
                        measure_libraries(it, rounds=plan.rounds, seconds=size.seconds, tell=tell)
                    ]
        if "delay" in only:
            tell(f"now with a round trip of {ROUND_TRIP_MS:g} ms to Redis")
            with stage(server, delay_ms=ROUND_TRIP_MS / 2) as it:
                delayed = measure(it, delayed_plan(plan, size), tell)
    return join([findings(direct, delayed, round_trips, ROUND_TRIP_MS), Findings(tables=tables)])


def delayed_plan(plan: Plan, size: Size) -> Plan:
    """The plan for a slow wire."""
    return replace(plan, connections=size.delayed_connections, operations=size.delayed_operations)
