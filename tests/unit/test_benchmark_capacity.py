import json
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.benchmark import capacity
from scripts.benchmark.capacity import (
    MIB,
    SHARD_MB,
    CapacityError,
    Case,
    Model,
    answer,
    deployment,
    first_limit,
    parse_arguments,
    read_model,
    session_bytes,
)

MODEL = Model(
    session_bytes={1: 300.0, 5: 700.0, 100: 5_450.0, 10_000: 450_950.0},
    message_bytes=100.0,
    turn_cpu_us=100.0,
    turn_redis_cpu_us=20.0,
    hot_message_bytes=50.0,
)
CASE = Case(quota_mb=512, redis_mb=25, messages=100, message_bytes=100)
DATA = {
    "model": {
        "session.1.bytes": 300.0,
        "session.5.bytes": 700.0,
        "session.100.bytes": 5_450.0,
        "session.10000.bytes": 450_950.0,
        "chat.message_bytes": 100.0,
        "append-1.cpu_us": 60.0,
        "read-50-hot.cpu_us": 40.0,
        "append-1.redis_cpu_us": 15.0,
        "read-50-hot.redis_cpu_us": 5.0,
        "hot.session_bytes": 5_000.0,
        "hot.session_messages": 100,
    }
}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [(1, 300), (3, 500), (5, 700), (100, 5_450), (1_090, 50_000), (20_000, 900_950), (0, 200)],
)
def test_a_session_is_on_the_line_between_what_was_measured(
    messages: float, expected: float
) -> None:
    assert session_bytes(MODEL, messages, 100) == pytest.approx(expected)


def test_longer_messages_do_not_make_an_empty_session_larger() -> None:
    # 200 B are there without a message; 5,250 B are the messages' own.
    assert session_bytes(MODEL, 100, 200) == pytest.approx(200 + 2 * 5_250)


def test_a_redis_holds_what_its_bytes_allow() -> None:
    it = capacity.capacity(MODEL, CASE)
    assert it.sessions == int(25 * MIB * 0.85 / 5_450)
    assert it.messages == it.sessions * 100
    assert it.hot_sessions == int(capacity.hot_bytes(512) / 5_000)
    assert (it.dyno_turns, it.redis_turns) == pytest.approx((7_000, 35_000))


def test_a_slower_core_takes_fewer_turns() -> None:
    slow = capacity.capacity(MODEL, replace(CASE, core=0.5))
    assert slow.dyno_turns == pytest.approx(3_500)


@pytest.mark.parametrize(
    ("sessions", "turns", "name"),
    [(4_000, 10, "memory of Redis"), (10, 6_000, "CPU of the dyno")],
)
def test_what_runs_out_first_is_what_is_used_most(sessions: int, turns: float, name: str) -> None:
    assert name in first_limit(capacity.capacity(MODEL, CASE), sessions=sessions, turns=turns)


def test_a_redis_that_holds_no_session_runs_out_of_memory() -> None:
    tiny = capacity.capacity(MODEL, replace(CASE, redis_mb=0.001))
    assert "memory of Redis" in first_limit(tiny, sessions=1, turns=1)


def test_shards_follow_the_bytes_or_the_turns() -> None:
    per_shard = int(SHARD_MB * MIB * 0.85 / 5_450)
    by_bytes = deployment(MODEL, CASE, sessions=3 * per_shard, turns=10)
    assert (by_bytes.shards, by_bytes.dynos) == (3, 1)
    by_turns = deployment(MODEL, CASE, sessions=10, turns=70_000)
    assert (by_turns.shards, by_turns.dynos) == (2, 10)


def test_the_model_is_read_from_the_data_of_the_benchmark() -> None:
    assert read_model(DATA) == MODEL


def test_what_was_not_measured_is_named() -> None:
    with pytest.raises(CapacityError, match=r"chat\.message_bytes"):
        read_model({"model": {"session.1.bytes": 1.0}})


def test_the_answers_are_texts_with_the_numbers() -> None:
    own = answer(MODEL, parse_arguments(["--bytes-per-message", "100"]))
    assert "sessions       4,088 (408,800 messages)" in own
    assert "memory of Redis" in own
    wide = answer(MODEL, parse_arguments(["--sessions", "100000000", "--bytes-per-message", "100"]))
    assert "dynos          5 of 512 MB" in wide
    assert "shards" in wide
    rows = answer(MODEL, parse_arguments(["--table"])).splitlines()
    assert rows[0].startswith("| dyno")
    assert len(rows) == 2 + len(capacity.DYNOS) * len(capacity.PLANS_MB)


def test_the_program_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "performance.json"
    monkeypatch.setattr("sys.argv", ["capacity", "--data", str(path)])
    assert capacity.main() == 2
    path.write_text(json.dumps(DATA))
    assert capacity.main() == 0
    assert "sessions" in capsys.readouterr().out
