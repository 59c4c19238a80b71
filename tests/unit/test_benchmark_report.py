import json
from pathlib import Path
from xml.etree import ElementTree as ET

from scripts.benchmark import report
from scripts.benchmark.figures import Figure, Findings, Table, at_least, at_most
from scripts.benchmark.plot import Bar, Plot, draw
from scripts.benchmark.report import Surroundings

SURROUNDINGS = Surroundings(
    command="scripts/bench",
    date="2026-01-02",
    machine="a machine",
    source="lines",
    load="wrk",
    rounds=3,
)
REACHED = Figure(name="fast", values=[5.0, 6.0, 7.0], unit="x", target=at_least(5, gross=0.5))
MISSED = Figure(name="dense", values=[0.5], unit="x", target=at_most(0.4, gross=2))
PLAIN = Figure(name="size", values=[12.0], unit="B")
FINDINGS = Findings(
    figures=[REACHED, MISSED, PLAIN],
    tables=[Table(title="Rows", columns=("a", "b"), rows=[("1", "2")], note="A note.")],
    plots=[Plot(name="growth", title="Growth", bars=[])],
    model={"a": 1.5},
)


def test_a_miss_is_said_and_so_is_what_was_reached() -> None:
    text = report.figures_table(FINDINGS.figures)
    assert "| fast | 6 x (5 to 7) | >= 5 | reached |" in text
    assert "| dense | 0.5 x | <= 0.4 | **missed** |" in text
    assert "| size | 12 B |  |  |" in text


def test_page_plots_and_data_are_written(tmp_path: Path) -> None:
    text = report.write(tmp_path / "out", SURROUNDINGS, FINDINGS)
    assert (tmp_path / "out" / "performance.md").read_text() == text
    assert "2026-01-02" in text
    assert "## Rows\n\nA note.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n" in text
    for name in ("ratios", "growth"):
        assert f"(performance-{name}.svg)" in text
        ET.parse(tmp_path / "out" / f"performance-{name}.svg")  # noqa: S314 # we wrote it
    data = json.loads((tmp_path / "out" / "performance.json").read_text())
    assert data["model"] == {"a": 1.5}
    assert data["figures"] == {"fast": 6.0, "dense": 0.5, "size": 12.0}


def test_only_ratios_are_drawn_together() -> None:
    bars = report.ratio_plot(FINDINGS.figures).bars
    assert [(bar.label, bar.target, bar.is_reached) for bar in bars] == [
        ("fast", 5, True),
        ("dense", 0.4, False),
    ]


def test_a_longer_bar_is_a_greater_value_and_names_are_text() -> None:
    bars = [
        Bar(label="a < b", value=value, low=value, high=value, target=1.0) for value in (0.5, 50.0)
    ]
    tree = ET.fromstring(draw("A & B", bars))  # noqa: S314 # we drew it
    names = {element.text for element in tree.iter() if element.tag.endswith("text")}
    assert {"A & B", "a < b"} <= names
    widths = [
        float(element.get("width", "0"))
        for element in tree.iter()
        if element.get("x") and element.tag.endswith("rect")
    ]
    assert widths[0] < widths[1]


def test_only_gross_regressions_fail_a_small_run() -> None:
    gross = Figure(name="dense", values=[2.1], unit="x", target=at_most(0.4, gross=2))
    assert report.gross(FINDINGS.figures) == []
    assert report.gross([gross]) == ["FAILED: dense: 2.1 x, <= 2 in any run"]


def test_the_machine_is_told_by_its_cores_and_version() -> None:
    assert "CPython" in report.machine()
