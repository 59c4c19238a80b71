"""What is under way is counted, refused where there is no room, and given back."""

import pytest

from service.errors import TooLarge, Unavailable
from service.memory.admission import LEAST_SECONDS, MOST_SECONDS, SMALL_BYTES, Admission
from service.memory.plan import GROWTH_SHARE

ROOM = 1_000


@pytest.fixture
def admission() -> Admission:
    return Admission(ROOM)


def test_what_fits_is_counted_until_it_is_given_back(admission: Admission) -> None:
    hold = admission.begin()
    hold.grow(600)
    hold.grow(400)
    assert (admission.held_bytes, admission.peak_bytes) == (1_000, 1_000)

    hold.shrink(300)
    assert (admission.held_bytes, hold.held_bytes) == (700, 700)
    hold.release()
    hold.release()
    assert (admission.held_bytes, admission.peak_bytes) == (0, 1_000)


def test_what_does_not_fit_is_refused_and_not_counted(admission: Admission) -> None:
    first, second = admission.begin(), admission.begin()
    first.grow(ROOM)
    with pytest.raises(Unavailable) as refusal:
        second.grow(1)

    assert refusal.value.code == "overloaded"
    assert (admission.held_bytes, second.held_bytes, admission.refused) == (ROOM, 0, 1)
    first.release()
    second.grow(ROOM)


def test_who_was_refused_together_does_not_come_back_together(admission: Admission) -> None:
    admission.begin().grow(0)
    full = admission.begin()
    full.grow(ROOM)
    seconds = set()
    for _ in range(200):
        with pytest.raises(Unavailable) as refusal:
            admission.begin().grow(1)
        seconds.add(refusal.value.retry_after_seconds)
    assert seconds == set(range(LEAST_SECONDS, MOST_SECONDS + 1))


def test_what_would_never_fit_is_no_matter_of_waiting(admission: Admission) -> None:
    with pytest.raises(TooLarge) as refusal:
        admission.begin().grow(ROOM + 1)
    assert refusal.value.limit == ROOM
    hold = admission.begin()
    hold.grow(ROOM // 2 + 1)
    with pytest.raises(TooLarge):  # with what it holds itself
        hold.grow(ROOM // 2)
    assert admission.refused == 0


def test_what_is_forgotten_is_given_back(admission: Admission) -> None:
    hold = admission.begin()
    hold.grow(10)
    del hold
    assert admission.held_bytes == 0


def test_calls_that_bring_data_leave_a_share_to_the_others(admission: Admission) -> None:
    first, second, small = (admission.begin() for _ in range(3))
    first.restrict()
    second.restrict()
    first.grow(int(ROOM * GROWTH_SHARE))
    with pytest.raises(Unavailable):
        second.grow(1)
    small.grow(100)
    with pytest.raises(Unavailable):
        admission.begin().restrict()
    with pytest.raises(TooLarge):
        second.grow(int(ROOM * GROWTH_SHARE) + 1)


def test_in_an_emergency_nothing_that_grows_is_taken(admission: Admission) -> None:
    admission.observe(ROOM, is_shedding=True)
    with pytest.raises(Unavailable):
        admission.begin().restrict()
    admission.begin().grow(ROOM)

    admission.observe(ROOM, is_shedding=False)
    admission.begin().restrict()


def test_no_more_is_let_in_than_the_sample_leaves_below_the_mark() -> None:
    admission = Admission(100 * SMALL_BYTES)
    first, second = admission.begin(), admission.begin()
    first.grow(10 * SMALL_BYTES)
    admission.observe(10 * SMALL_BYTES, is_shedding=False)
    second.grow(9 * SMALL_BYTES)
    with pytest.raises(Unavailable):
        second.grow(SMALL_BYTES + 1)
    second.grow(SMALL_BYTES)  # small ones go by the plan

    admission.observe(1_000 * SMALL_BYTES, is_shedding=False)
    second.grow(75 * SMALL_BYTES)
    with pytest.raises(Unavailable):  # large ones leave a little
        second.grow(SMALL_BYTES + 1)
    for _ in range(5):
        second.grow(SMALL_BYTES)
    with pytest.raises(Unavailable):
        second.grow(1)


def test_what_will_come_bit_by_bit_is_judged_and_not_taken(admission: Admission) -> None:
    hold = admission.begin()
    hold.check(ROOM // 2)
    assert admission.held_bytes == 0
    admission.begin().add(0)
    others = admission.begin()
    others.add(ROOM)
    with pytest.raises(Unavailable):
        hold.check(1)
    with pytest.raises(TooLarge):
        hold.check(2 * ROOM)
    assert (admission.held_bytes, hold.held_bytes) == (ROOM, 0)


def test_a_refusal_makes_room_for_those_who_come_again() -> None:
    asked: list[int] = []
    admission = Admission(ROOM, make_room=lambda: asked.append(1))
    others = admission.begin()
    others.add(ROOM)
    with pytest.raises(Unavailable):
        admission.begin().grow(1)
    assert asked == [1]


def test_calls_that_bring_data_are_never_small() -> None:
    admission = Admission(100 * SMALL_BYTES)
    admission.observe(-1, is_shedding=False)
    hold = admission.begin()
    hold.restrict()
    with pytest.raises(Unavailable):
        hold.grow(1)


def test_open_doors_count_and_refuse_nothing() -> None:
    admission = Admission(ROOM, is_open=True)
    admission.observe(ROOM, is_shedding=True)
    hold = admission.begin()
    hold.restrict()
    hold.grow(2 * ROOM)
    assert (admission.held_bytes, admission.refused) == (2 * ROOM, 0)
