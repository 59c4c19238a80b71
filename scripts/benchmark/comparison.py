"""The figures and the table of speed, from the samples of each case."""

from collections.abc import Callable

from scripts.benchmark import targets
from scripts.benchmark.calls import TITLES, Operation, Peer
from scripts.benchmark.figures import Figure, Findings, Sample, Table, Target, ratios, spread
from scripts.benchmark.speed import Case, Samples

BATCH = 50
MAIN_CONNECTIONS = 32


def per_second(sample: Sample) -> float:
    """Requests in a second."""
    return sample.load.per_second


def service_cpu(sample: Sample) -> float:
    """CPU of the service for a request."""
    return sample.service_cpu_us


def p50(sample: Sample) -> float:
    """The middle latency."""
    return sample.load.p50_us


COLUMNS = (
    "operation",
    "connections",
    "who",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "CPU us",
    "Redis CPU us",
    "ours / theirs, requests/s",
    "ours / theirs, CPU",
)


def speed_table(title: str, samples: Samples) -> Table:
    """One row for each case and peer; the ratios are of the same round."""
    rows = [
        _row(case, peer, by_peer)
        for case, by_peer in samples.items()
        for peer in sorted(by_peer, key=list(Peer).index)
    ]
    return Table(title=title, columns=COLUMNS, rows=rows)


def _row(case: Case, peer: Peer, by_peer: dict[Peer, list[Sample]]) -> tuple[str, ...]:
    ours, theirs = by_peer[Peer.OURS], by_peer[peer]

    def middle(value: Callable[[Sample], float]) -> float:
        return spread([value(sample) for sample in theirs]).median

    return (
        TITLES[case.operation],
        str(case.connections),
        peer,
        f"{middle(per_second):,.0f}",
        f"{middle(p50) / 1e3:.2f}",
        f"{middle(lambda sample: sample.load.p99_us) / 1e3:.2f}",
        f"{middle(service_cpu):.0f}",
        f"{middle(lambda sample: sample.redis_cpu_us):.1f}",
        "" if peer is Peer.OURS else _shown(compare(ours, theirs, per_second)),
        "" if peer is Peer.OURS else _shown(compare(ours, theirs, service_cpu)),
    )


def _shown(values: list[float]) -> str:
    it = spread(values)
    return f"{it.median:.2f} ({it.low:.2f} to {it.high:.2f})"


def compare(
    ours: list[Sample], theirs: list[Sample], value: Callable[[Sample], float]
) -> list[float]:
    """Divide ours by theirs, round by round."""
    return ratios([value(sample) for sample in ours], [value(sample) for sample in theirs])


RATIOS = (
    (
        "append 1: requests/s",
        Operation.APPEND_ONE,
        Peer.FASTAPI,
        per_second,
        targets.APPEND_FASTAPI,
    ),
    (
        "append 1: requests/s",
        Operation.APPEND_ONE,
        Peer.STARLETTE,
        per_second,
        targets.APPEND_STARLETTE,
    ),
    ("append 1: CPU", Operation.APPEND_ONE, Peer.FASTAPI, service_cpu, targets.APPEND_CPU),
    ("append 1: CPU", Operation.APPEND_ONE, Peer.STARLETTE, service_cpu, None),
    (
        "hot read of 50: requests/s",
        Operation.READ_HOT,
        Peer.FASTAPI,
        per_second,
        targets.HOT_FASTAPI,
    ),
    ("hot read of 50: requests/s", Operation.READ_HOT, Peer.PLAIN_FASTAPI, per_second, None),
    ("hot read of 50: requests/s", Operation.READ_HOT, Peer.WEBDIS, per_second, targets.HOT_WEBDIS),
    (
        "hot read of 50: requests/s",
        Operation.READ_HOT,
        Peer.STARLETTE,
        per_second,
        targets.HOT_STARLETTE,
    ),
    (
        "cold read of 50: requests/s",
        Operation.READ_COLD,
        Peer.WEBDIS,
        per_second,
        targets.COLD_WEBDIS,
    ),
)
"""What is held against a peer, at 32 connections."""


def speed_figures(samples: Samples, round_trip_us: list[float]) -> list[Figure]:
    """Make the figures that have a target, as far as their cases were measured."""
    figures = []
    for name, operation, peer, value, target in RATIOS:
        by_peer = samples.get(Case(operation, MAIN_CONNECTIONS), {})
        if peer in by_peer:
            values = compare(by_peer[Peer.OURS], by_peer[peer], value)
            figures.append(Figure(name=f"{name} / {peer}", values=values, unit="x", target=target))
    return [*figures, *_own_figures(samples), *_batch(samples, round_trip_us)]


OWN: tuple[tuple[str, Case, Callable[[Sample], float], str, Target], ...] = (
    (
        "append 50 in one call: CPU of the service a message",
        Case(Operation.APPEND_FIFTY, MAIN_CONNECTIONS),
        lambda sample: sample.service_cpu_us / BATCH,
        "us",
        targets.APPEND_FIFTY_US,
    ),
    (
        "812 keys in one call: p50 at 1 connection",
        Case(Operation.PRE_KEYS, 1),
        lambda sample: sample.load.p50_us / 1e3,
        "ms",
        targets.PRE_KEYS_MS,
    ),
    (
        "hot read of 50: p99 / p50 at 32 connections",
        Case(Operation.READ_HOT, MAIN_CONNECTIONS),
        lambda sample: sample.load.p99_us / sample.load.p50_us,
        "x",
        targets.P99_P50,
    ),
    (
        "append 1: what Redis reads from its sockets, at 1 connection, a call",
        Case(Operation.APPEND_ONE, 1),
        lambda sample: sample.redis_reads,
        "",
        targets.ROUND_TRIPS,
    ),
)


def _own_figures(samples: Samples) -> list[Figure]:
    return [
        Figure(
            name=name, values=[value(s) for s in samples[case][Peer.OURS]], unit=unit, target=target
        )
        for name, case, value, unit, target in OWN
        if case in samples
    ]


def _batch(samples: Samples, round_trip_us: list[float]) -> list[Figure]:
    by_peer = samples.get(Case(Operation.STATE_BATCH, 1))
    if not by_peer or not round_trip_us:
        return []
    floor = spread(round_trip_us).median
    theirs = [p50(sample) + floor for sample in by_peer[Peer.STARLETTE]]
    values = ratios([p50(sample) for sample in by_peer[Peer.OURS]], theirs)
    name = "state batch: p50 at 1 connection / (bare Starlette + a round trip to Redis)"
    return [Figure(name=name, values=values, unit="x", target=targets.BATCH_P50)]


def delay_figures(direct: Samples, delayed: Samples, delay_ms: float) -> list[Figure]:
    """Hold a slow wire against none: what a hot read loses by it."""
    case = Case(Operation.READ_HOT, 1)
    if case not in direct or case not in delayed:
        return []
    values = compare(delayed[case][Peer.OURS], direct[case][Peer.OURS], p50)
    name = f"hot read of 50: p50 at 1 connection with {delay_ms:g} ms to Redis / without"
    return [Figure(name=name, values=values, unit="x", target=targets.HOT_DELAYED)]


def speed_model(samples: Samples) -> dict[str, float]:
    """CPU of ours and of Redis for each operation, for scripts/capacity."""
    model = {}
    for case, by_peer in samples.items():
        if case.connections == MAIN_CONNECTIONS:
            ours = by_peer[Peer.OURS]
            model[f"{case.operation}.cpu_us"] = spread([service_cpu(s) for s in ours]).median
            model[f"{case.operation}.redis_cpu_us"] = spread([s.redis_cpu_us for s in ours]).median
    return model


def findings(
    direct: Samples, delayed: Samples, round_trip_us: list[float], delay_ms: float
) -> Findings:
    """Put the speed together."""
    tables = [speed_table("Speed, Redis on the same machine", direct)]
    if delayed:
        title = f"Speed, with a round trip of {delay_ms:g} ms to Redis"
        tables.append(speed_table(title, delayed))
    figures = speed_figures(direct, round_trip_us) + delay_figures(direct, delayed, delay_ms)
    return Findings(figures=figures, tables=tables, model=speed_model(direct))
