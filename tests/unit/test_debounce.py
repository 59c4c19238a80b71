"""Who waits, and for how long."""

from service.debounce import Debounce


def debounce(most_waiting: int = 10) -> Debounce[str]:
    return Debounce(quiet_seconds=5, most_seconds=30, most_waiting=most_waiting)


def test_one_is_due_when_it_has_been_quiet_for_a_while() -> None:
    waiting = debounce()
    waiting.note("a", 0)
    waiting.note("b", 1)
    waiting.note("a", 3)

    assert waiting.due(5.9) == []
    assert waiting.due(6) == ["b"]
    assert waiting.due(8) == ["b", "a"]


def test_one_that_is_never_quiet_is_due_all_the_same() -> None:
    waiting = debounce()
    for second in range(30):
        assert waiting.due(second) == []
        waiting.note("a", second)

    assert waiting.due(30) == ["a"]


def test_one_waits_until_it_is_dealt_with() -> None:
    waiting = debounce()
    waiting.note("a", 0)
    noted_at = waiting.noted_at("a")
    assert waiting.due(5) == waiting.due(6) == ["a"]
    waiting.settle("a", noted_at, 6)

    assert (len(waiting), list(waiting), waiting.noted_at("a")) == (0, [], None)


def test_one_that_was_noted_meanwhile_waits_anew() -> None:
    waiting = debounce()
    waiting.note("a", 0)
    noted_at = waiting.noted_at("a")
    waiting.note("a", 5)
    waiting.settle("a", noted_at, 6)

    assert waiting.due(9) == []
    assert waiting.due(10) == ["a"]
    for second in range(10, 36):
        waiting.note("a", second)
    assert waiting.due(35.9) == []
    assert waiting.due(36) == ["a"]


def test_one_that_was_discarded_meanwhile_is_not_brought_back() -> None:
    waiting = debounce()
    waiting.note("a", 0)
    noted_at = waiting.noted_at("a")
    waiting.discard("a")
    waiting.settle("a", noted_at, 6)
    waiting.discard("a")

    assert list(waiting) == []


def test_of_too_many_the_one_that_has_waited_longest_is_forgotten() -> None:
    waiting = debounce(most_waiting=2)
    assert waiting.note("a", 0)
    assert waiting.note("b", 1)
    assert waiting.note("a", 2)
    assert not waiting.note("c", 3)

    assert list(waiting) == ["b", "c"]
