"""Rehearse faults: Redis, the way to it, its clients and the service itself go wrong, one by one.

It shows a line a run, then the table, and ends with 1 if a promise was broken: something lost or
invented, an answer that came late, a service that did not heal by itself.
"""

import argparse
import asyncio
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from scripts.benchmark.report import machine
from scripts.faulting import of_clients, of_clocks, of_redis, of_scale, of_service, of_wire, report
from scripts.faulting.coherence import Staleness, measure_both
from scripts.faulting.fault import Fault
from scripts.faulting.reading import NotRead
from scripts.faulting.run import Order, Result, rehearse
from scripts.faulting.shim import compiler
from tests.processes import NotInTime
from tests.servers import ServerFailed

MODULES = (of_redis, of_wire, of_clients, of_service, of_clocks, of_scale)
FAULTS: dict[str, Fault] = {fault.name: fault for it in MODULES for fault in it.FAULTS}
COHERENCE = "coherence"


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [*FAULTS, COHERENCE]
    parser.add_argument(
        "--fault", nargs="+", metavar="NAME", choices=names, default=names,
        help=f"some of: {', '.join(names)}",
    )  # fmt: skip
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="of each row (1)")
    parser.add_argument("--processes", type=int, metavar="N", help="services, in each row")
    parser.add_argument("--out", type=Path, default=Path(".faults"), help="where to (.faults)")
    return parser.parse_args(words)


def orders(arguments: argparse.Namespace) -> Iterator[Order]:
    """Say what shall be rehearsed, and what has to lose."""
    faults = [FAULTS[name] for name in arguments.fault if name in FAULTS]
    faults = [fault for fault in faults if compiler() or not fault.needs_shim]
    for is_control in (False, True):
        for fault in faults:
            if is_control and not fault.needs_replay:
                continue
            for processes in [arguments.processes] if arguments.processes else fault.processes:
                order = Order(fault=fault, processes=processes, is_control=is_control)
                yield from [order] * (1 if is_control else arguments.runs)


def left_out(arguments: argparse.Namespace) -> list[str]:
    """Say what cannot be made here."""
    names = [name for name in arguments.fault if name in FAULTS and FAULTS[name].needs_shim]
    if compiler() or not names:
        return []
    return [
        f"{', '.join(names)} need a C compiler (cc): wrong clocks and slow disks are a library."
    ]


def run(wanted: Iterator[Order]) -> list[Result]:
    """Rehearse one after the other, and say of each how it went."""
    results = []
    for order in wanted:
        results.append(asyncio.run(rehearse(order)))
        print(" | ".join(report.row(results[-1:])), file=sys.stderr, flush=True)
    return results


def main() -> int:
    """Rehearse, write, print; 1 if a promise was broken."""
    # An end by SIGTERM takes along what was started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    arguments, found = parse_arguments(), list[Staleness]()
    try:
        results = run(orders(arguments))
        if COHERENCE in arguments.fault:
            found = asyncio.run(measure_both())
    except (OSError, NotRead, NotInTime, ServerFailed) as error:
        print(f"scripts/faults: {error}", file=sys.stderr)
        return 2
    surroundings = report.Surroundings(
        command=shlex.join(["scripts/faults", *sys.argv[1:]]),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        left_out=left_out(arguments),
    )
    groups = [list(group) for _, group in groupby(results, key=lambda it: it.order)]
    print(report.write(arguments.out, surroundings, groups, found))
    broken = [f"FAILED: {it.order.name}: {words}" for it in results for words in it.faults]
    broken += [f"FAILED: {words}" for it in found for words in it.faults]
    print("\n".join(broken), end="\n" if broken else "")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
