"""Short forms of scripts/storm: nothing that clients send ends the service, and nothing is lost.

Each has its control: without admission the same storm kills it, or passes the emergency mark.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.storming import report
from scripts.storming.__main__ import CONTROLS
from scripts.storming.run import ADMISSION, Order, rehearse
from scripts.storming.stage import can_group
from tests.processes import run_script

REASON = can_group()
in_a_group = pytest.mark.skipif(bool(REASON), reason=REASON)

QUOTA_MB = 192
SECONDS = 3.0
TRIES = 3


def order(load: str) -> Order:
    return Order(load=load, quota_mb=QUOTA_MB, seconds=SECONDS, bursts=2)


@in_a_group
@pytest.mark.parametrize("load", CONTROLS)
def test_a_storm_neither_ends_the_service_nor_changes_an_answer(load: str) -> None:
    result = rehearse(order(load))
    assert report.faults(result) == []
    assert result.account.acknowledged > 0
    assert result.account.checked > 0
    assert result.account.shed > 0  # it was one


@in_a_group
@pytest.mark.parametrize("load", CONTROLS)
def test_without_admission_the_same_storm_does(load: str) -> None:
    defenceless = replace(order(load), settings={"MEMORY_FAULT": ADMISSION})
    # On a busy machine a storm may not get strong enough: one of three does.
    results = (rehearse(defenceless) for _ in range(TRIES))
    assert any(each.peak_percent > report.PEAK_PERCENT or not each.has_survived for each in results)


@in_a_group
def test_the_kernel_counts_what_its_own_group_uses() -> None:
    result = rehearse(replace(order("idle"), seconds=1.0))
    assert result.actions == []
    assert 0 < result.peak_percent < 50
    assert result.kernel_peak_bytes > 0


def test_without_a_group_the_quota_is_told_and_the_process_is_weighed() -> None:
    result = rehearse(replace(order("idle"), seconds=1.0, grouped=False))
    assert report.faults(result) == []
    assert 0 < result.peak_percent < 50
    assert result.kernel_peak_bytes == 0


def test_the_command_tells_and_writes_what_happened(tmp_path: Path) -> None:
    words = ("--load", "idle", "--seconds", "1", "--quota", "192", "--out", str(tmp_path))
    ended = run_script("scripts.storming", *words)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "| `idle` | 192 | yes |" in ended.stdout
    assert (tmp_path / "storms.md").exists()
    assert (tmp_path / "storms-idle.svg").exists()
