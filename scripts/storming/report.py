"""The table of a rehearsal, what may not be, and the page of docs/."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from scripts.benchmark.figures import Table
from scripts.benchmark.report import table
from scripts.storming.loads import LOADS
from scripts.storming.run import Result
from scripts.storming.timeline import Curve, draw

PEAK_PERCENT = 85.0
FIRST_PERCENT = 65.0
LATER_PERCENT = 60.0
"""Until the use is that low the standard tier is not left, and may act again."""
COLUMNS = (
    "load", "MB", "survived", "peak %", "kernel's %", "first action at %", "actions",
    "acknowledged", "lost", "changed", "shed", "seen as 503", "pause ms", "/health p99 ms",
)  # fmt: skip
PAGE = "storms.md"
DEFECTS = ("500", "507")

INTRODUCTION = """# Storms

Written by `{command}` on {date}; do not edit.
Machine: {machine}, the clients and Redis on it too.

Each load runs against a service of its own in a memory group of the kernel with the quota of the
row and no swap, in the environment of the platform. Redis and the clients are outside of it. The
phases and sizes of bursts are random in each run. What was acknowledged is read back at the end,
all of it, with `Cache-Control: no-cache` and without, and compared byte for byte.

*Peak* is anonymous memory and swap of the group, looked at {rate:.0f} times a second; *kernel's* is
the kernel's own counter, which counts the page cache too. *Shed* are answers 503; *seen* says how
many of those that were refused saw that (the others' connection ended without an answer; those of
`chunked` go on sending whatever they are told). *Pause* is the time of all cleanups together.
/health is asked from outside, by a client that shares two cores with Redis, the service and all
others.

Most storms need no cleanup: the hot tier and what is under way have budgets that add up to less
than the emergency mark (docs/decisions/0019). So that both tiers have to act, a neighbour in the
same group takes the quota up to 87 %; on kernels whose figures of a group lag it is noticed late
(docs/decisions/0005).
"""

SEED = Table(
    title="The system that this one replaces",
    columns=("load in 512 MB", "its governor", "what happened", "ours"),
    note="Its figures are from a memory group of 512 MB, too.",
    rows=(
        (
            "200 chats, 1,000 messages/s of 1 KiB, 1 session/s of 16 KB",
            "off",
            "killed after 345 to 360 s, all is lost",
            "`steady`",
        ),
        (
            "the same",
            "on, as shipped",
            "killed after 340 s; 0 bytes freed, each cleanup logged as a success",
            "`steady`",
        ),
        (
            "the same",
            "on, at its best",
            "survives: deletes 89.5 % of the history, first at 19 % of the quota",
            "`steady`",
        ),
        (
            "messages of 16 KiB at full speed",
            "on",
            "killed after 25 to 30 s, before it looked for the first time",
            "`burst`",
        ),
        ("a quiet bot, 3 % of the quota", "on", "deletes 98 % of the history", "`idle`"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """How, when and where it was rehearsed; `rate` = samples a second."""

    command: str
    date: str
    machine: str
    rate: float


def row(result: Result) -> tuple[str, ...]:
    """Write the line of a run."""
    it, said = result, result.account
    words = [f"{name}={text}" for name, text in it.order.settings.items()]
    words += ["with a neighbour"] * it.order.has_neighbour
    refused = said.shed - said.bare + said.unseen
    first = f"{it.actions[0].percent:.1f}" if it.actions else "none"
    return (
        " ".join([f"`{it.order.load}`", *words]),
        str(it.order.quota_mb),
        "yes" if it.has_survived else "**killed**",
        f"{it.peak_percent:.1f}",
        f"{it.kernel_peak_bytes / it.quota_bytes:.0%}".rstrip("%") if it.kernel_peak_bytes else "",
        first,
        str(len(it.actions)),
        f"{said.acknowledged:,}",
        str(said.lost),
        str(said.changed),
        f"{said.shed:,}",
        f"{100 * (said.shed - said.bare) // refused}%" if refused else "",
        f"{it.pause_ms:.0f}",
        f"{it.health_ms:.0f}",
    )


def results_table(results: Sequence[Result], title: str) -> str:
    """Write the table of some runs."""
    return table(Table(title=title, columns=COLUMNS, rows=[row(it) for it in results]))


def faults(result: Result) -> list[str]:
    """Name what may not be; of a control, that nothing happened to it."""
    it, said = result, result.account
    overshoots = it.peak_percent > PEAK_PERCENT
    if it.order.is_control:
        rules = [
            (it.has_survived and not overshoots, "it survives without what keeps it alive, too")
        ]
    else:
        first = it.actions[0].percent if it.actions else FIRST_PERCENT
        lowest = min((action.percent for action in it.actions), default=LATER_PERCENT)
        is_forced = it.order.has_neighbour
        tiers = {action.tier for action in it.actions}
        rules = [
            (not it.has_survived, f"the service ended: {it.exit_code}, {it.kills} killed"),
            (overshoots and not is_forced, f"its peak was {it.peak_percent:.1f} % of the quota"),
            (first < FIRST_PERCENT, f"its first cleanup was at {first:.1f} %"),
            (lowest < LATER_PERCENT, f"a cleanup at {lowest:.1f} %"),
            (is_forced and tiers != {"standard", "emergency"}, f"its cleanups: {sorted(tiers)}"),
            (bool(it.actions) and it.order.load == "idle", "a cleanup for a quiet bot"),
            (said.bare > 0, f"{said.bare} answers 503 without Retry-After"),
            (
                said.unseen > 0 and not LOADS[it.order.load].is_endless,
                f"{said.unseen} calls saw no answer",
            ),
        ]
    bad = {code: n for code, n in said.codes.items() if code.startswith(DEFECTS)}
    rules += [
        (bool(bad), f"answers that may not be: {bad}"),
        (said.lost > 0, f"{said.lost} acknowledged writes are lost"),
        (said.changed > 0, f"{said.changed} answers are not what was written"),
        (said.unread > 0, f"{said.unread} sessions could not be read back"),
    ]
    return [f"FAILED: {it.order.name}: {words}" for holds, words in rules if holds]


def write(directory: Path, surroundings: Surroundings, results: Sequence[Result]) -> str:
    """Write the page and a plot for each load into a directory; return the page."""
    directory.mkdir(parents=True, exist_ok=True)
    parts = [
        INTRODUCTION.format(
            command=surroundings.command,
            date=surroundings.date,
            machine=surroundings.machine,
            rate=surroundings.rate,
        ),
        *_tables(results),
        table(SEED),
        table(_described()),
    ]
    ordered = sorted(results, key=lambda it: it.order.load)
    for load, runs in groupby(ordered, key=lambda it: it.order.load):
        (directory / f"storms-{load}.svg").write_text(draw(load, [curve(it) for it in runs]))
        parts.append(f"![Usage of the quota over time: {load}](storms-{load}.svg)\n")
    failed = [fault for it in results for fault in faults(it)]
    parts += ["## What failed\n", *(f"- {fault}" for fault in failed), ""] * bool(failed)
    text = "\n".join(parts)
    (directory / PAGE).write_text(text)
    return text


def _described() -> Table:
    """Say what each load does, in its own words."""
    rows = [
        (f"`{name}`", " ".join((load.run.__doc__ or "").split())) for name, load in LOADS.items()
    ]
    return Table(title="The loads", columns=("load", "what it does"), rows=rows)


def _tables(results: Sequence[Result]) -> list[str]:
    """Write a table of the storms, and one of the controls where there are some."""
    controls = [it for it in results if it.order.is_control]
    forced = [it for it in results if it.order.has_neighbour and it not in controls]
    storms = [it for it in results if it not in controls and it not in forced]
    titles = (
        (storms, "What a storm does"),
        (forced, "With a neighbour that takes the quota up to 87 %: both tiers act"),
        (controls, "The controls: what keeps it alive is switched off"),
    )
    return [results_table(some, title) for some, title in titles if some]


def curve(result: Result) -> Curve:
    """Make the curve of a run."""
    words = [f"{result.order.quota_mb} MB", *result.order.settings.values()]
    words += ["neighbour"] * result.order.has_neighbour
    return Curve(
        label=", ".join(words),
        quota_bytes=result.quota_bytes,
        samples=result.samples,
        actions=result.actions,
        is_killed=not result.has_survived,
    )
