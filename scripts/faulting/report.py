"""The table of a rehearsal, and the page of docs/."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark.figures import Table
from scripts.benchmark.report import table
from scripts.faulting.coherence import DELAY_SECONDS, P99_MS, Staleness
from scripts.faulting.run import ANSWER_MS, HEAL_MS, SLACK_MS, Result

PAGE = "faults.md"
COLUMNS = (
    "fault", "services", "runs", "answers seen", "slowest answer, ms", "acknowledged", "lost",
    "invented", "control", "heals in ms", "remarks",
)  # fmt: skip
MOST_ANSWERS, MOST_REMARKS = 5, 3
INTRODUCTION = f"""# Faults

Written by `{{command}}` on {{date}}; do not edit.
Machine: {{machine}}, the clients, Redis and the services on it too.

Each row is a Valkey, service processes and a fault of its own, at a random moment, under nine
clients. They append messages, with an `Idempotency-Key` and without, set and delete values and
delete sessions, each call to any of the services. As the documentation says, they repeat what was
refused (`not_applied`) and, with its key, what is unknown; what was refused without a key they
never send again.

- *Answers seen*: from the fault on until each service takes writes again. A read that says what it
  should, or that there is nothing, is a `read`; *connection refused* and *no answer* are none.
- *Slowest answer*: at most {ANSWER_MS:,.0f} ms and what the fault adds ({SLACK_MS:.0f} ms more
  are granted to a machine that all share); a call that takes 10 s counts as one that hangs.
- *Lost*: acknowledged, and not there when all is read back, by each service, with
  `Cache-Control: no-cache` and without. *Invented*: there though it was refused, deleted or never
  sent, or there twice; and each answer on the way that was not true: 404 or an old value in place
  of what was acknowledged.
- *Heals*: from the moment when Redis (the way to it, the service) is back until every service has
  taken a write, asked every 25 ms; at most {HEAL_MS:,.0f} ms, and nobody helps. Of a failover: from
  when the replica is the primary and, behind sentinels, one of them says so.

Each row has its *control*: at its end a session is taken out of Redis, and so many writes are
missed (the least of all runs): a count that misses nothing proves nothing. Rows on a Redis that
loses its memory have another one that plays nothing again (`REPLAY_MAX_MB=0`): it must lose.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """How, when and where it was rehearsed; what could not be made here, and why."""

    command: str
    date: str
    machine: str
    left_out: Sequence[str]


def row(results: Sequence[Result]) -> tuple[str, ...]:
    """Write the line of all runs of one order."""
    order = results[0].order
    answers = sum((it.answers for it in results), Counter[str]())
    remarks = list(dict.fromkeys(word for it in results for word in it.remarks))[:MOST_REMARKS]
    remarks += [
        f"**{word}**" for word in dict.fromkeys(word for it in results for word in it.faults)
    ]
    is_never = any(it.heal_ms is None for it in results)
    return (
        f"{order.fault.title} (`{order.fault.name}`)",
        str(order.processes),
        str(len(results)),
        "; ".join(f"{label} ({count:,})" for label, count in answers.most_common(MOST_ANSWERS)),
        f"{max(it.worst_ms for it in results):.0f}",
        f"{sum(it.acknowledged for it in results):,}",
        f"{sum(it.verdict.lost for it in results):,}",
        f"{sum(it.verdict.invented + it.untrue for it in results):,}",
        f"{min(it.erased for it in results):,}",
        "never" if is_never else f"{max(it.heal_ms or 0 for it in results):.0f}",
        "; ".join(remarks),
    )


def results_table(groups: Sequence[Sequence[Result]], title: str) -> str:
    """Write the table of some orders, each with its runs."""
    return table(Table(title=title, columns=COLUMNS, rows=[row(group) for group in groups]))


def staleness_table(found: Sequence[Staleness]) -> str:
    """Write how long a process answers what another one has changed."""
    rows = [
        (
            f"`{it.invalidation}`",
            f"{len(it.lags_ms):,}",
            *(f"{it.percentile(percent):.2f}" for percent in (50, 99, 100)),
            f"<= {P99_MS:g}",
            f"{it.calls:,}",
            str(len(it.stale)),
        )
        for it in found
    ]
    columns = (
        *("`redis.invalidation`", "writes", "p50 ms", "p99 ms", "slowest ms", "wanted p99 ms"),
        *("calls of a random history", "reads too old"),
    )
    note = (
        "Written through one process, read through another one in a tight loop, on the loopback:"
        " from the answer to the write until the other process's first answer with the new value,"
        " the time of that read included. `none`: the user of Redis may not ask for CLIENT"
        " TRACKING, so each read asks Redis. The history: appends, sets, deletions and reads of one"
        " session by six clients through both; no read may be older than what its process, or"
        " (`no-cache`) any process, had acknowledged before it began, nor than what another one had"
        f" {DELAY_SECONDS * 1e3:.0f} ms before; and none goes back."
    )
    return table(Table(title="Staleness across processes", columns=columns, rows=rows, note=note))


def write(
    directory: Path,
    surroundings: Surroundings,
    groups: Sequence[Sequence[Result]],
    found: Sequence[Staleness],
) -> str:
    """Write the page into a directory; return it."""
    rows = [group for group in groups if not group[0].order.is_control]
    controls = [group for group in groups if group[0].order.is_control]
    parts = [
        INTRODUCTION.format(
            command=surroundings.command, date=surroundings.date, machine=surroundings.machine
        ),
        *([results_table(rows, "The table")] if rows else []),
        *([results_table(controls, "The controls: nothing is played again")] if controls else []),
        *([staleness_table(found)] if found else []),
        *(f"Left out: {words}\n" for words in surroundings.left_out),
    ]
    text = "\n".join(parts)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / PAGE).write_text(text)
    return text
