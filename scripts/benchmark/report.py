"""The page: what was reached and what was missed, the tables, the plots, and the data file."""

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark.figures import Figure, Findings, Table
from scripts.benchmark.plot import Bar, Plot, draw

PAGE, DATA = "performance.md", "performance.json"

INTRODUCTION = """# Performance

Written by `{command}` on {date}; do not edit.
Machine: {machine}. Lines of chat: {source}. Load: {load}.

Everything ran on this one machine, the load generator too, so requests/s say little and ratios
within a round a lot: who is measured takes turns, and a ratio is of one round. Given are the median
and, in brackets, the least and the most of {rounds} rounds. CPU is user and system time of all
threads of the process, for a request.

Ours has everything on: a key, limits, validation, ETag, expiry, deadlines. The bare peers read the
same body and answer the bytes that ours answered. FastAPI + redis has no key, no limits, no dedupe;
webdis pushes and reads a bare list on one thread, without an expiry. *Cold* is read by a process of
the service that was just started, each session once; the peers keep nothing and read as always.
With the wire, a proxy passes each packet on after half of the round trip, each way.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """When, where and how it was measured."""

    command: str
    date: str
    machine: str
    source: str
    load: str
    rounds: int


def machine() -> str:
    """Describe this machine without naming it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{os.cpu_count()} cores of {model}, CPython {platform.python_version()}"


def page(surroundings: Surroundings, findings: Findings, plots: list[Plot]) -> str:
    """Write the whole page."""
    words = {name: getattr(surroundings, name) for name in surroundings.__dataclass_fields__}
    parts = [INTRODUCTION.format(**words), figures_table(findings.figures)]
    parts += [f"![{plot.title}](performance-{plot.name}.svg)\n" for plot in plots]
    parts += [table(it) for it in findings.tables]
    return "\n".join(parts)


def figures_table(figures: list[Figure]) -> str:
    """Say for each figure whether it came to its target."""
    rows = [
        (
            figure.name,
            _shown(figure),
            f"{figure.target.bound} {figure.target.value:g}" if figure.target else "",
            {True: "reached", False: "**missed**", None: ""}[figure.is_reached],
        )
        for figure in figures
    ]
    columns = ("figure", "measured", "target", "")
    return table(Table(title="Figures and their targets", columns=columns, rows=rows))


def _shown(figure: Figure) -> str:
    it, unit = figure.spread, f" {figure.unit}" if figure.unit else ""
    if len(figure.values) == 1:
        return f"{it.median:.3g}{unit}"
    return f"{it.median:.3g}{unit} ({it.low:.3g} to {it.high:.3g})"


def table(it: Table) -> str:
    """Write a table as Markdown."""
    lines = [it.columns, ("---",) * len(it.columns), *it.rows]
    note = f"{it.note}\n" if it.note else ""
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"## {it.title}\n\n{note}{chr(10) if note else ''}{body}\n"


def ratio_plot(figures: list[Figure]) -> Plot:
    """Draw the figures that are ratios."""
    bars = [
        Bar(
            label=figure.name,
            value=figure.spread.median,
            low=figure.spread.low,
            high=figure.spread.high,
            target=figure.target.value if figure.target else None,
            is_reached=figure.is_reached,
        )
        for figure in figures
        if figure.unit == "x" and figure.spread.low > 0
    ]
    return Plot(name="ratios", title="Ratios: ours to another; the mark is the target", bars=bars)


def write(directory: Path, surroundings: Surroundings, findings: Findings) -> str:
    """Write page, plots and data into a directory; return the page."""
    directory.mkdir(parents=True, exist_ok=True)
    plots = [ratio_plot(findings.figures), *findings.plots]
    text = page(surroundings, findings, plots)
    (directory / PAGE).write_text(text)
    for plot in plots:
        (directory / f"performance-{plot.name}.svg").write_text(draw(plot.title, plot.bars))
    data = {
        "date": surroundings.date,
        "machine": surroundings.machine,
        "command": surroundings.command,
        "figures": {figure.name: figure.spread.median for figure in findings.figures},
        "model": findings.model,
    }
    (directory / DATA).write_text(json.dumps(data, indent=1) + "\n")
    return text


def gross(figures: list[Figure]) -> list[str]:
    """Name what is worse than noise explains."""
    return [
        f"FAILED: {it.name}: {_shown(it)}, {it.target.bound} {it.target.gross:g} in any run"
        for it in figures
        if it.is_gross and it.target is not None and it.target.gross is not None
    ]
