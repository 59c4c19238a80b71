"""Rehearse storms: the service in a memory group of the kernel, under loads that spare nothing.

It shows a line of usage, then a table, and ends with 1 if something was killed, lost, changed, or
above 85 % of the quota. With --fault admission it is a control: it has to end badly.
Memory groups need root; without it MEMORY_QUOTA_MB is set and the process's own memory is judged.
"""

import argparse
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from scripts.benchmark.processes import ROOT
from scripts.benchmark.report import machine
from scripts.storming import report
from scripts.storming.loads import LOADS
from scripts.storming.run import ADMISSION, LAYERS, Order, Result, rehearse, show
from scripts.storming.stage import StormError, can_group
from scripts.storming.watch import SAMPLE_SECONDS
from tests.servers import ServerFailed

QUOTAS_MB = (512, 256)
CONTROLS = ("burst", "uploads", "chunked", "slow-readers")
FORCED = ("steady", "many-chats")
"""With a neighbour that uses up the quota: the service alone does not reach the highest tier."""

FORCED_SECONDS = 30.0
NO_LAYER = ",".join(sorted(LAYERS))

WHOLE = {"steady": 400.0, "idle": 60.0}
"""Seconds in the largest quota: as long as the system before this one lasted, and more."""


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/storm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quota", type=int, default=512, metavar="MB", help="of the service (512)")
    parser.add_argument("--load", nargs="+", choices=LOADS, default=["burst"], help="one by one")
    parser.add_argument("--all", action="store_true", help="all loads, 512 and 256 MB, controls")
    parser.add_argument(
        "--bursts", type=int, default=20, metavar="N", help="of burst, uploads (20)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="at most, of each load")
    parser.add_argument("--fault", metavar="NAMES", help="MEMORY_FAULT of the service")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="its settings")
    parser.add_argument("--neighbour", action="store_true", help="takes the quota up to 87 %%")
    parser.add_argument("--out", type=Path, default=Path(".storm"), help="where to (.storm)")
    parser.add_argument("--write-docs", action="store_true", help="write into docs/ instead")
    return parser.parse_args(words)


def orders(arguments: argparse.Namespace, *, grouped: bool) -> Iterator[Order]:
    """Say what shall be rehearsed."""

    def order(load: str, quota_mb: int, **settings: str) -> Order:
        return Order(
            load=load,
            quota_mb=quota_mb,
            seconds=arguments.seconds,
            bursts=arguments.bursts,
            settings=settings,
            grouped=grouped,
            has_neighbour=arguments.neighbour,
        )

    given = dict(word.partition("=")[::2] for word in arguments.set)
    if arguments.fault:
        given |= {"MEMORY_FAULT": arguments.fault}
    if not arguments.all:
        yield from (order(load, arguments.quota, **given) for load in arguments.load)
        return
    for quota_mb in QUOTAS_MB:
        whole = WHOLE if quota_mb == max(QUOTAS_MB) and not arguments.seconds else {}
        for each in [order(load, quota_mb) for load in LOADS]:
            yield replace(each, seconds=whole.get(each.load, each.seconds))
        yield from (order(load, quota_mb, MEMORY_FAULT=ADMISSION) for load in CONTROLS)
        if grouped:
            forced = [order(load, quota_mb) for load in FORCED]
            forced.append(order(FORCED[-1], quota_mb, MEMORY_FAULT=NO_LAYER))
            for each in forced:
                yield replace(each, has_neighbour=True, seconds=FORCED_SECONDS)


def run(wanted: Iterator[Order]) -> list[Result]:
    """Rehearse one after the other, and say of each how it went."""
    results = []
    for order in wanted:
        results.append(rehearse(order))
        show("")
        codes = results[-1].account.codes or ""
        print(" | ".join(report.row(results[-1])), codes, file=sys.stderr, flush=True)
    return results


def main() -> int:
    """Rehearse, write, print; 1 if something was as it may not be."""
    # An end by SIGTERM takes along what was started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    arguments, reason = parse_arguments(), can_group()
    if reason:
        print(f"{reason}: MEMORY_QUOTA_MB is set instead; nobody is killed.", file=sys.stderr)
    try:
        results = run(orders(arguments, grouped=not reason))
    except (OSError, StormError, ServerFailed) as error:
        print(f"scripts/storm: {error}", file=sys.stderr)
        return 2
    surroundings = report.Surroundings(
        command=shlex.join(["scripts/storm", *sys.argv[1:]]),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        rate=1 / SAMPLE_SECONDS,
    )
    out = ROOT / "docs" if arguments.write_docs else arguments.out
    print(report.write(out, surroundings, results))
    faults = [fault for result in results for fault in report.faults(result)]
    print("\n".join(faults), end="\n" if faults else "")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
