from scripts.benchmark.calls import Operation, Peer
from scripts.benchmark.comparison import findings, speed_model
from scripts.benchmark.figures import Load, Sample
from scripts.benchmark.speed import Case, Plan, Samples, cases, turned

APPEND, HOT = Case(Operation.APPEND_ONE, 32), Case(Operation.READ_HOT, 1)
BATCH = Case(Operation.STATE_BATCH, 1)


def sample(per_second: int, cpu_us: float, p50_us: float = 100.0) -> Sample:
    load = Load(requests=per_second, seconds=1.0, p50_us=p50_us, p99_us=300.0, slowest_us=400.0)
    return Sample(load=load, service_cpu_us=cpu_us, redis_cpu_us=5.0, redis_reads=1.0)


DIRECT: Samples = {
    APPEND: {
        Peer.OURS: [sample(1_000, 40.0), sample(3_000, 60.0)],
        Peer.FASTAPI: [sample(200, 200.0), sample(300, 300.0)],
    },
    HOT: {Peer.OURS: [sample(1_000, 40.0, 100.0)]},
    BATCH: {
        Peer.OURS: [sample(1_000, 40.0, 300.0)],
        Peer.STARLETTE: [sample(1_000, 40.0, 100.0)],
    },
}
DELAYED: Samples = {HOT: {Peer.OURS: [sample(1_000, 40.0, 1_100.0)]}}


def test_each_ratio_is_of_its_own_round() -> None:
    figures = {it.name: it for it in findings(DIRECT, DELAYED, [50.0, 50.0, 90.0], 1.0).figures}
    assert figures["append 1: requests/s / FastAPI + redis"].values == [5.0, 10.0]
    assert figures["append 1: CPU / FastAPI + redis"].values == [0.2, 0.2]
    delayed = "hot read of 50: p50 at 1 connection with 1 ms to Redis / without"
    assert figures[delayed].values == [11.0]
    batch = next(it for name, it in figures.items() if name.startswith("state batch"))
    assert batch.values == [2.0]


def test_what_was_not_measured_makes_no_figure() -> None:
    assert findings({}, {}, [], 1.0).figures == []


def test_the_table_has_a_row_for_each_peer_and_ours_without_a_ratio() -> None:
    direct, delayed = findings(DIRECT, DELAYED, [], 1.0).tables
    assert [row[2] for row in direct.rows] == [
        "ours",
        "FastAPI + redis",
        "ours",
        "ours",
        "bare Starlette",
    ]
    assert direct.rows[0][-2:] == ("", "")
    assert direct.rows[1][-2:] == ("7.50 (5.00 to 10.00)", "0.20 (0.20 to 0.20)")
    assert len(delayed.rows) == 1


def test_the_model_is_of_32_connections() -> None:
    assert speed_model(DIRECT) == {"append-1.cpu_us": 50.0, "append-1.redis_cpu_us": 5.0}


def test_each_round_begins_with_another_peer() -> None:
    peers = list(Peer)
    assert [turned(peers, n)[0] for n in range(len(peers))] == peers
    assert sorted(turned(peers, 3)) == sorted(peers)


def test_a_login_is_written_by_one_client_only() -> None:
    plan = Plan(rounds=1, seconds=1.0, connections=(1, 32), cold_sessions=1, has_wrk=False)
    found = list(cases(plan))
    assert Case(Operation.PRE_KEYS, 1) in found
    assert Case(Operation.PRE_KEYS, 32) not in found
    assert len(found) == 2 * len(Operation) - 1
