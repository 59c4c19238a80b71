"""Samples are compared with what was counted; what is left over narrows admission."""

import pytest

from service.errors import Unavailable
from service.memory.accounts import Accounts
from service.memory.admission import LARGE_SHARE, Admission
from service.memory.listeners import Listeners
from service.memory.plan import Wanted, make_plan
from service.memory.tiers import DEFAULT_MARKS
from service.model import Limits
from service.vitals import MemoryReading, Tier
from tests.memory_fakes import FakeClock

MIB = 1_048_576
OWN, HOT, ROOM = 45 * MIB, 100 * MIB, 60 * MIB


def reading(used_bytes: int) -> MemoryReading:
    return MemoryReading(
        used_bytes=used_bytes, quota_bytes=512 * MIB, usage_source="fake", quota_source="setting"
    )


def accounts_of(admission: Admission, hot_bytes: int = HOT, *, is_acting: bool = True) -> Accounts:
    plan = make_plan(512 * MIB, OWN, DEFAULT_MARKS, Limits(), Wanted(journal_bytes=8 * MIB))
    listeners = Listeners(FakeClock())
    return Accounts(plan, lambda: hot_bytes, admission, listeners, is_acting=is_acting)


def is_let_in(admission: Admission, count: int) -> bool:
    try:
        admission.begin().grow(count)
    except Unavailable:
        return False
    return True


def test_as_much_is_let_in_as_lies_below_the_emergency_mark() -> None:
    admission = Admission(ROOM)
    mark_bytes = int(512 * MIB * DEFAULT_MARKS.emergency_enter)
    accounts_of(admission).observe(reading(mark_bytes - 10 * MIB), Tier.STANDARD)
    assert not is_let_in(admission, 10 * MIB)
    assert is_let_in(admission, int(10 * MIB * LARGE_SHARE))


def test_what_an_allocator_keeps_takes_no_room_while_the_mark_is_far() -> None:
    admission = Admission(ROOM)
    accounts_of(admission, hot_bytes=0).observe(reading(300 * MIB), Tier.NORMAL)
    assert is_let_in(admission, int(ROOM * LARGE_SHARE))


def test_an_emergency_is_told_to_admission() -> None:
    admission = Admission(ROOM)
    accounts_of(admission).observe(reading(OWN), Tier.EMERGENCY)
    with pytest.raises(Unavailable):
        admission.begin().restrict()


def test_who_may_not_act_only_tells() -> None:
    admission = Admission(ROOM)
    accounts = accounts_of(admission, is_acting=False)
    accounts.observe(reading(500 * MIB), Tier.EMERGENCY)
    admission.begin().restrict()
    assert is_let_in(admission, int(ROOM * LARGE_SHARE))
    assert accounts.status.factor == pytest.approx(4.55)


def test_the_factor_is_growth_to_counted_bytes_and_unknown_for_few() -> None:
    admission = Admission(ROOM)
    accounts = accounts_of(admission)
    accounts.observe(reading(OWN + 110 * MIB), Tier.NORMAL)
    assert accounts.status.factor == pytest.approx(1.1)
    few = accounts_of(admission, hot_bytes=MIB)
    few.observe(reading(OWN + 110 * MIB), Tier.NORMAL)
    assert few.status.factor is None


def test_the_figures_are_those_of_admission_and_listeners() -> None:
    admission = Admission(ROOM)
    hold = admission.begin()
    hold.grow(7)
    status = accounts_of(admission, hot_bytes=3).status
    assert (status.held_bytes, status.limit_bytes, status.peak_bytes) == (7, ROOM, 7)
    assert (status.refused, status.listeners, status.queued_bytes) == (0, {}, 0)
    assert accounts_of(admission, hot_bytes=3).counted_bytes == 10
