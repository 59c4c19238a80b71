"""How fast: each operation on ours and on the peers in turn, round by round."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

from scripts.benchmark import generator, wrk
from scripts.benchmark.calls import Operation, Peer, requests
from scripts.benchmark.figures import BenchmarkError, Load, Sample
from scripts.benchmark.processes import running_service
from scripts.benchmark.stage import Stage

WARM_REQUESTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: float
    connections: tuple[int, ...]
    cold_sessions: int
    has_wrk: bool
    operations: tuple[Operation, ...] = tuple(Operation)
    peers: tuple[Peer, ...] = tuple(Peer)


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """One line of the table before it is split by peers."""

    operation: Operation
    connections: int


Samples = dict[Case, dict[Peer, list[Sample]]]
"""A sample a round, of each peer that has the operation."""


def cases(plan: Plan) -> Iterator[Case]:
    """Name what is measured; a login is written by one client at a time."""
    for operation in plan.operations:
        for connections in plan.connections:
            if operation is not Operation.PRE_KEYS or connections == plan.connections[0]:
                yield Case(operation, connections)


def measure(stage: Stage, plan: Plan, tell: Callable[[str], None]) -> Samples:
    """Measure all cases; within a round the peers follow each other, each round another first."""
    found: Samples = {}
    for case in cases(plan):
        tell(f"{case.operation}, {case.connections} connections")
        found[case] = _rounds(stage, case, plan, tell)
    return found


def _rounds(
    stage: Stage, case: Case, plan: Plan, tell: Callable[[str], None]
) -> dict[Peer, list[Sample]]:
    """Measure one case; a peer that fails is left out of it, and that is told."""
    samples: dict[Peer, list[Sample]] = defaultdict(list)
    able = {it for it in plan.peers if it in stage.peers and requests(it, case.operation, 1)}
    for number in range(plan.rounds):
        for peer in turned([it for it in plan.peers if it in able], number):
            try:
                samples[peer].append(_sample(stage, peer, case, plan))
            except BenchmarkError as error:
                if peer is Peer.OURS:
                    raise
                tell(f"{peer} is left out here: {error}")
                able.discard(peer)
    return {peer: samples[peer] for peer in samples if peer in able}


def turned(peers: Sequence[Peer], number: int) -> list[Peer]:
    """Begin with another peer each round: the place in the round is nobody's advantage."""
    start = number % len(peers)
    return [*peers[start:], *peers[:start]]


def _sample(stage: Stage, peer: Peer, case: Case, plan: Plan) -> Sample:
    if case.operation is Operation.READ_COLD:
        return _sample_cold(stage, peer, case, plan)
    prepared = requests(peer, case.operation)

    def drive(port: int) -> Load:
        if plan.has_wrk:
            return wrk.drive(port, prepared, connections=case.connections, seconds=plan.seconds)
        return generator.drive(
            port, cycle(prepared), connections=case.connections, seconds=plan.seconds
        )

    process = stage.peers[peer]
    generator.drive(process.port, prepared[:WARM_REQUESTS], connections=1)
    return stage.sample(process, drive)


def _sample_cold(stage: Stage, peer: Peer, case: Case, plan: Plan) -> Sample:
    """Read each session once; ours by a process that was started for it and knows none of them."""
    # One at a time, and over a wire, they take long.
    sessions = plan.cold_sessions if case.connections > 1 else plan.cold_sessions // 4
    prepared = requests(peer, case.operation, sessions)

    def drive(port: int) -> Load:
        return generator.drive(port, prepared, connections=case.connections)

    if peer is not Peer.OURS:
        return stage.sample(stage.peers[peer], drive)
    with running_service(stage.redis_port) as fresh:
        warm = requests(peer, Operation.READ_HOT)
        generator.drive(fresh.port, warm, connections=1)
        return stage.sample(fresh, drive)
