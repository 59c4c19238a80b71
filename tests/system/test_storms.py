"""Short forms of scripts/storm: nothing that clients send ends the service, and nothing is lost.

Each has its control: without admission the same storm kills it, or passes the emergency mark.
"""

from dataclasses import replace

import pytest

from scripts.storming import report
from scripts.storming.__main__ import CONTROLS
from scripts.storming.run import ADMISSION, Order, rehearse
from scripts.storming.stage import can_group

REASON = can_group()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)

QUOTA_MB = 192
SECONDS = 3.0


def order(load: str) -> Order:
    return Order(load=load, quota_mb=QUOTA_MB, seconds=SECONDS, bursts=2)


@pytest.mark.parametrize("load", CONTROLS)
def test_a_storm_neither_ends_the_service_nor_changes_an_answer(load: str) -> None:
    result = rehearse(order(load))
    assert report.faults(result) == []
    assert result.account.acknowledged > 0
    assert result.account.checked > 0
    assert result.account.shed > 0  # it was one


@pytest.mark.parametrize("load", CONTROLS)
def test_without_admission_the_same_storm_does(load: str) -> None:
    result = rehearse(replace(order(load), settings={"MEMORY_FAULT": ADMISSION}))
    assert not result.has_survived or result.peak_percent > report.PEAK_PERCENT
    assert (result.account.lost, result.account.changed) == (0, 0)
