"""Short forms of scripts/faults: nothing acknowledged is lost, nothing is invented, all heals.

What the other tests prove of a row, and which: docs/decisions/0025.
"""

from pathlib import Path

import pytest

from scripts.faulting.__main__ import FAULTS
from scripts.faulting.ledger import Verdict
from scripts.faulting.run import Order, Result, rehearse
from tests.processes import run_script


async def run(name: str, *, is_control: bool = False) -> Result:
    return await rehearse(Order(fault=FAULTS[name], processes=2, is_control=is_control))


@pytest.mark.parametrize("name", ["rst-storm", "back-empty", "power-cut"])
async def test_a_fault_loses_nothing_invents_nothing_and_heals(name: str) -> None:
    result = await run(name)
    assert (result.verdict, result.untrue) == (Verdict(), 0)
    assert result.broken == []
    assert result.heal_ms is not None
    assert result.acknowledged > 0
    assert result.erased > 0  # the count finds what is missing


async def test_a_redis_that_forgets_is_seen_to_lose() -> None:
    result = await run("back-empty", is_control=True)
    assert result.verdict.lost > 0
    assert result.faults == []


def test_the_command_tells_and_writes_what_happened(tmp_path: Path) -> None:
    ended = run_script("scripts.faulting", "--fault", "half-open", "--out", str(tmp_path))
    (line,) = [line for line in ended.stdout.splitlines() if "(`half-open`)" in line]
    _, services, runs, answers, _, acknowledged, lost, invented, control, heals, _ = line.split(
        " | "
    )
    assert (services, runs, lost, invented) == ("1", "1", "0", "0")
    assert "503 unavailable unknown" in answers
    assert int(acknowledged.replace(",", "")) > 0
    assert int(control.replace(",", "")) > 0
    assert heals != "never"
    # On a busy machine an answer may be late.
    assert ended.returncode == ("FAILED" in ended.stdout), ended.stdout + ended.stderr
    assert line in (tmp_path / "faults.md").read_text()
