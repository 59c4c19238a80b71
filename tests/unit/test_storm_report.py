"""What a rehearsal tells of its runs: actions out of a log, rules, table, page, plots."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from scripts.storming import report
from scripts.storming.__main__ import CONTROLS, WHOLE, orders, parse_arguments
from scripts.storming.crowd import Account
from scripts.storming.group import sum_lines
from scripts.storming.loads import LOADS
from scripts.storming.report import Surroundings, faults, row
from scripts.storming.run import Order, Result
from scripts.storming.timeline import Curve, draw, peaks
from scripts.storming.watch import Action, Actions, Sample

MIB = 1_048_576
ORDER = Order(load="uploads", quota_mb=100)
CONTROL = replace(ORDER, settings={"MEMORY_FAULT": "admission"})
ACTION = Action(at=1.0, tier="standard", percent=71.0, freed_bytes=5, ms=12.5)
ACCOUNT = Account(phase="read", acknowledged=1_000, shed=8, checked=2_000)
WELL = Result(
    order=ORDER,
    exit_code=None,
    kills=0,
    kernel_peak_bytes=82 * MIB,
    samples=[Sample(at=0.0, used_bytes=20 * MIB), Sample(at=1.0, used_bytes=80 * MIB)],
    actions=[ACTION, replace(ACTION, ms=0.5)],
    latencies_ms=[1.0, 2.0],
    account=ACCOUNT,
    quota_bytes=100 * MIB,
)
KILLED = replace(WELL, exit_code=-9, kills=1)
HIGH = replace(WELL, samples=[Sample(at=0.0, used_bytes=86 * MIB)])

LOG = """x WARNING ⚠️ Memory usage high: 71.0% (363 MB)
x INFO 🧹 Running standard memory cleanup...
x INFO something else
x INFO Memory cleanup freed 1048576 bytes in 12.5 ms
x WARNING ⚠️ Memory usage high: 90.5% (463 MB)
x WARNING 🚨 Memory usage critical! Running emergency cleanup...
"""


def test_actions_are_read_from_the_log_lines_of_the_seed() -> None:
    actions = Actions()
    for line in LOG.splitlines():
        actions.read(line, 3.0)
    assert actions.found == [
        Action(at=3.0, tier="standard", percent=71.0, freed_bytes=MIB, ms=12.5),
        Action(at=3.0, tier="emergency", percent=90.5),
    ]


def test_an_end_without_a_beginning_is_nothing() -> None:
    actions = Actions()
    actions.read("Memory cleanup freed 1 bytes in 1.0 ms", 0.0)
    assert actions.found == []


def test_lines_of_the_kernel_are_added_up_by_their_names() -> None:
    text = "rss 1\ntotal_rss 20\ntotal_swap 3\ntotal_rss_huge 7\n"
    assert sum_lines(text, frozenset({"total_rss", "total_swap"})) == 23


def test_a_run_is_a_line_of_the_table() -> None:
    assert row(WELL) == (
        "`uploads`", "100", "yes", "80.0", "82", "71.0", "2", "1,000", "0", "0", "8", "100%",
        "13", "2",
    )  # fmt: skip


def test_a_killed_run_has_used_all_of_its_quota() -> None:
    cells = row(
        replace(KILLED, actions=[], latencies_ms=[], account=Account(), kernel_peak_bytes=0)
    )
    assert cells[2:7] == ("**killed**", "100.0", "", "none", "0")
    assert cells[11] == ""


def test_a_good_run_and_a_bad_control_are_no_fault() -> None:
    assert faults(WELL) == []
    assert faults(replace(KILLED, order=CONTROL)) == []
    assert faults(replace(HIGH, order=CONTROL)) == []


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (KILLED, "the service ended"),
        (HIGH, "its peak was 86.0 %"),
        (replace(WELL, actions=[replace(ACTION, percent=64.0)]), "its first cleanup was at 64.0 %"),
        (replace(WELL, actions=[ACTION, replace(ACTION, percent=59.0)]), "a cleanup at 59.0 %"),
        (replace(WELL, order=replace(ORDER, load="idle")), "a cleanup for a quiet bot"),
        (replace(WELL, account=Account(shed=2, bare=1)), "1 answers 503 without Retry-After"),
        (replace(WELL, account=Account(unseen=1)), "1 calls saw no answer"),
        (replace(WELL, account=Account(lost=1)), "1 acknowledged writes are lost"),
        (replace(WELL, account=Account(changed=1)), "1 answers are not what was written"),
        (
            replace(WELL, account=Account(codes={"500 internal": 2, "404 x": 1})),
            "{'500 internal': 2}",
        ),
        (replace(WELL, account=Account(unread=1)), "1 sessions could not be read back"),
        (replace(WELL, order=CONTROL), "it survives without what keeps it alive"),
        (replace(KILLED, order=CONTROL, account=Account(lost=1)), "1 acknowledged writes are lost"),
    ],
)
def test_what_may_not_be_is_named(result: Result, words: str) -> None:
    found = faults(result)
    assert [words in fault for fault in found].count(True) == 1
    assert all(fault.startswith("FAILED: ") for fault in found)


def test_with_a_neighbour_usage_may_be_high_and_both_tiers_must_act() -> None:
    forced = replace(HIGH, order=replace(ORDER, has_neighbour=True))
    assert faults(forced) == [
        "FAILED: uploads in 100 MB, with a neighbour: its cleanups: ['standard']"
    ]
    both = [ACTION, replace(ACTION, tier="emergency")]
    assert faults(replace(forced, actions=both)) == []
    assert row(forced)[0] == "`uploads` with a neighbour"


def test_page_and_plots_are_written(tmp_path: Path) -> None:
    there = Surroundings(command="scripts/storm", date="2026-01-02", machine="a", rate=50)
    results = [
        WELL,
        replace(KILLED, order=CONTROL),
        replace(WELL, order=replace(ORDER, load="idle")),
    ]
    text = report.write(tmp_path / "out", there, results)
    assert (tmp_path / "out" / "storms.md").read_text() == text
    assert "| `uploads` | 100 | yes | 80.0 |" in text
    assert "## The controls: what keeps it alive is switched off" in text
    assert "89.5 %" in text
    for load in ("uploads", "idle"):
        assert f"(storms-{load}.svg)" in text
        ET.parse(tmp_path / "out" / f"storms-{load}.svg")  # noqa: S314 # we wrote it


def test_without_controls_there_is_no_table_of_them(tmp_path: Path) -> None:
    there = Surroundings(command="scripts/storm", date="2026-01-02", machine="a", rate=50)
    text = report.write(tmp_path, there, [WELL])
    assert "The controls" not in text
    assert "What failed" not in text


def test_what_failed_is_said_on_the_page(tmp_path: Path) -> None:
    there = Surroundings(command="scripts/storm", date="2026-01-02", machine="a", rate=50)
    text = report.write(tmp_path, there, [HIGH])
    assert "## What failed\n\n- FAILED: uploads in 100 MB: its peak was 86.0 %" in text


def test_a_plot_keeps_each_peak_and_marks_each_action() -> None:
    samples = [Sample(at=float(n), used_bytes=n % 97) for n in range(10_000)]
    assert len(peaks(samples)) <= 600
    assert max(it.used_bytes for it in peaks(samples)) == 96
    assert peaks([]) == []
    curve = Curve(label="a < b", quota_bytes=100, samples=samples, actions=[ACTION], is_killed=True)
    drawing = draw("A & B", [curve])
    ET.fromstring(drawing)  # noqa: S314 # we drew it
    assert drawing.count("<polyline") == 1
    assert "standard at 71.0 %: 5 B, 12 ms" in drawing
    assert "a &lt; b, killed" in drawing
    ET.fromstring(draw("nothing", []))  # noqa: S314 # we drew it


def test_one_load_is_ordered_as_it_was_asked_for() -> None:
    words = ["--load", "burst", "idle", "--quota", "256", "--fault", "basic", "--set", "A=b=c"]
    ordered = list(orders(parse_arguments(words), grouped=False))
    assert [it.load for it in ordered] == ["burst", "idle"]
    assert ordered[0].settings == {"A": "b=c", "MEMORY_FAULT": "basic"}
    assert ordered[0].quota_mb == 256
    assert not ordered[0].grouped
    assert not ordered[0].is_control
    assert ordered[0].name == "burst in 256 MB, A=b=c, MEMORY_FAULT=basic"


def test_all_is_every_load_in_both_quotas_and_the_controls() -> None:
    ordered = list(orders(parse_arguments(["--all"]), grouped=True))
    for quota_mb in (512, 256):
        mine = [it for it in ordered if it.quota_mb == quota_mb and not it.has_neighbour]
        assert [it.load for it in mine if not it.settings] == list(LOADS)
        assert tuple(it.load for it in mine if it.is_control) == CONTROLS
    assert any(it.has_neighbour for it in ordered)
    without = list(orders(parse_arguments(["--all"]), grouped=False))
    assert not any(it.has_neighbour for it in without)
    assert any(it.is_control and it.has_neighbour for it in ordered)
    assert next(it for it in ordered if it.load == "steady").seconds == WHOLE["steady"]
