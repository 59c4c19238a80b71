"""Measure the service against its peers: one run, everything started by itself, in turns.

Parts: speed (operations x connections x peers), delay (the same with a wire of 1 ms to Redis),
history (bytes in Redis, growth, the hot tier), bookkeeping (dedupe, keyed calls, logins, what
libraries take), crowd (64 clients, 20 connections). --smoke is all of it small, for CI: it fails on
gross regressions alone.
"""

import argparse
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scripts.benchmark import report, wrk
from scripts.benchmark.bookkeeping import measure_bookkeeping
from scripts.benchmark.corpus import Chat, load_chat
from scripts.benchmark.crowd import crowd_findings
from scripts.benchmark.figures import BenchmarkError, Findings, join
from scripts.benchmark.history import measure_histories, shapes
from scripts.benchmark.processes import ROOT, has_webdis
from scripts.benchmark.report import Surroundings
from scripts.benchmark.size import FULL, SMOKE, Size
from scripts.benchmark.speed import Plan
from scripts.benchmark.weights import history_findings
from scripts.benchmark.wires import measure_speed
from scripts.chat import ChatError

PARTS = ("speed", "delay", "history", "bookkeeping", "crowd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was found, and the parts that failed."""

    findings: Findings
    failed: list[str]


def tell(progress: str) -> None:
    """Say what is measured now."""
    print(f"{datetime.now(UTC):%H:%M:%S} {progress}", file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--smoke", action="store_true", help="all of it, small")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison (5; smoke 2)")
    parser.add_argument("--scale", type=int, help="divide the numbers of sessions (1; smoke 50)")
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="where to (.bench)")
    parser.add_argument("--write-docs", action="store_true", help="write into docs/ instead")
    parser.add_argument("--chat", type=Path, help="lines of JSON {sender, text, ts}")
    parser.add_argument("--own-generator", action="store_true", help="even where wrk is installed")
    return parser.parse_args()


def measure_history(size: Size, scale: int, chat: Chat) -> Findings:
    """Fill and weigh the shapes."""
    wanted = shapes(scale)
    measured = measure_histories(
        wanted, chat, patience=size.patience, seconds=size.seconds, tell=tell
    )
    return history_findings(wanted, measured, chat)


def run(only: Sequence[str], size: Size, scale: int, plan: Plan, chat: Chat) -> Run:
    """Measure the parts that are asked for; what fails is told, and the others go on."""
    parts: list[tuple[tuple[str, ...], Callable[[], Findings]]] = [
        (("speed", "delay"), lambda: measure_speed(only, plan, size, tell)),
        (("history",), lambda: measure_history(size, scale, chat)),
        (("bookkeeping",), lambda: measure_bookkeeping(chat, size=size, scale=scale, tell=tell)),
        (("crowd",), lambda: crowd_findings(size.crowd_seconds)),
    ]
    found, failed = [], []
    for names, part in parts:
        if set(names) & set(only):
            try:
                found.append(part())
            except (OSError, BenchmarkError) as error:
                failed.append(f"FAILED: {names[0]}: {error}")
    return Run(findings=join(found), failed=failed)


def main() -> int:
    """Measure, write, print; 1 if something failed, or is grossly off in a small run."""
    # An end by SIGTERM takes along what was started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    arguments = parse_arguments()
    size = SMOKE if arguments.smoke else FULL
    plan = make_plan(arguments, size)
    try:
        chat = load_chat(arguments.chat)
    except (OSError, ChatError) as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 2
    if not has_webdis():
        tell("webdis is not installed here (a package of Debian): its rows are left out")
    done = run(arguments.only, size, arguments.scale or size.scale, plan, chat)
    out = ROOT / "docs" if arguments.write_docs else arguments.out
    page = report.write(out, surroundings(plan, chat), done.findings)
    print(report.figures_table(done.findings.figures) if arguments.smoke else page)
    faults = done.failed + (report.gross(done.findings.figures) if arguments.smoke else [])
    print("\n".join(faults), end="\n" if faults else "")
    return bool(faults)


def make_plan(arguments: argparse.Namespace, size: Size) -> Plan:
    """Say what is compared; the small run takes the generator that every machine has."""
    return Plan(
        rounds=arguments.rounds or size.rounds,
        seconds=size.seconds,
        connections=size.connections,
        cold_sessions=size.cold_sessions,
        peers=size.peers,
        has_wrk=wrk.is_installed() and not arguments.smoke and not arguments.own_generator,
    )


def surroundings(plan: Plan, chat: Chat) -> Surroundings:
    """Say when, where and how."""
    return Surroundings(
        command=shlex.join(["scripts/bench", *sys.argv[1:]]),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=report.machine(),
        source=chat.source,
        load="wrk" if plan.has_wrk else "scripts/benchmark/generator.py",
        rounds=plan.rounds,
    )


if __name__ == "__main__":
    sys.exit(main())
