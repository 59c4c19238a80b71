"""Who listens long or slowly is known, and hung up on when memory is short."""

from service.memory.listeners import (
    IDLE_SECONDS,
    OLD_SECONDS,
    PAUSE_SECONDS,
    SLOW_READER,
    Listeners,
)
from tests.memory_fakes import FakeClock


def test_those_that_are_old_are_closed_and_the_others_stay() -> None:
    clock, closed = FakeClock(), []
    listeners = Listeners(clock)
    listeners.add("slow_reader", close=lambda: closed.append("a"), queued_bytes=lambda: 70_000)
    listeners.add("lease_wait", close=lambda: closed.append("b"))
    clock.seconds += IDLE_SECONDS
    listeners.add("slow_reader", close=lambda: closed.append("c"), queued_bytes=lambda: 5)
    assert (len(listeners), listeners.queued_bytes) == (3, 70_005)
    assert listeners.kinds == {"slow_reader": 2, "lease_wait": 1}
    assert listeners.oldest_seconds == IDLE_SECONDS

    assert listeners.close_idle() == 70_000
    assert closed == ["a", "b"]
    assert (len(listeners), listeners.queued_bytes, listeners.closed) == (1, 5, 2)
    assert listeners.close_idle() == 0


def test_who_has_ended_is_forgotten() -> None:
    clock, closed = FakeClock(), []
    listeners = Listeners(clock)
    one = listeners.add("lease_wait", close=lambda: closed.append("a"))
    listeners.discard(one)
    listeners.discard(one)
    clock.seconds += IDLE_SECONDS

    assert listeners.close_idle() == 0
    assert (closed, len(listeners)) == ([], 0)


def test_who_takes_itself_off_while_being_closed_does_no_harm() -> None:
    clock = FakeClock()
    listeners = Listeners(clock)
    one = listeners.add("slow_reader", close=lambda: listeners.discard(one))
    clock.seconds += IDLE_SECONDS
    listeners.close_idle()
    assert listeners.closed == 1


def test_old_readers_make_room_once_a_second_and_who_waits_for_a_lease_stays() -> None:
    clock, closed = FakeClock(), []
    listeners = Listeners(clock)
    listeners.add(SLOW_READER, close=lambda: closed.append("reader"))
    listeners.add("lease_wait", close=lambda: closed.append("waiter"))
    clock.seconds += OLD_SECONDS
    listeners.close_old_readers()
    assert closed == ["reader"]

    listeners.add(SLOW_READER, close=lambda: closed.append("another"))
    clock.seconds += PAUSE_SECONDS / 2
    listeners.close_old_readers()
    clock.seconds += OLD_SECONDS
    assert closed == ["reader"]
    listeners.close_old_readers()
    assert closed == ["reader", "another"]


def test_who_goes_on_taking_is_not_idle() -> None:
    clock, closed = FakeClock(), []
    listeners = Listeners(clock)
    steady = listeners.add(SLOW_READER, close=lambda: closed.append("steady"))
    listeners.add(SLOW_READER, close=lambda: closed.append("idle"))
    clock.seconds += IDLE_SECONDS - 1
    listeners.moved(steady)
    clock.seconds += 1
    listeners.close_idle()
    assert closed == ["idle"]
