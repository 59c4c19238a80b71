import pytest

from scripts.benchmark.figures import (
    Figure,
    Findings,
    Load,
    Spread,
    Table,
    at_least,
    at_most,
    join,
    ratios,
    spread,
)


def test_a_spread_is_the_middle_and_the_ends() -> None:
    assert spread([3.0, 1.0, 2.0, 10.0]) == Spread(median=2.5, low=1.0, high=10.0)


def test_ratios_are_of_the_same_round() -> None:
    assert ratios([10.0, 30.0], [5.0, 10.0]) == [2.0, 3.0]


def test_rounds_that_do_not_pair_are_no_ratios() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_a_load_has_a_rate() -> None:
    load = Load(requests=30, seconds=2.0, p50_us=1, p99_us=2, slowest_us=3)
    assert load.per_second == 15


@pytest.mark.parametrize(
    ("target", "reached", "missed"), [(at_least(5), 5.0, 4.9), (at_most(0.2), 0.2, 0.21)]
)
def test_a_target_is_reached_from_its_own_side(
    target: object, reached: float, missed: float
) -> None:
    figure = Figure(name="x", values=[reached], unit="x", target=target)  # type: ignore[arg-type]
    other = Figure(name="x", values=[missed], unit="x", target=target)  # type: ignore[arg-type]
    assert (figure.is_reached, other.is_reached) == (True, False)


def test_a_figure_without_a_target_is_neither_reached_nor_gross() -> None:
    figure = Figure(name="x", values=[1.0], unit="x")
    assert (figure.is_reached, figure.is_gross) == (None, False)


def test_a_miss_is_gross_only_beyond_its_own_limit() -> None:
    target = at_least(5, gross=0.5)
    values = (5.0, 0.5, 0.49)
    assert [target.is_gross(value) for value in values] == [False, False, True]
    assert not at_least(5).is_gross(0.0)


def test_the_median_decides() -> None:
    assert Figure(name="x", values=[1.0, 6.0, 7.0], unit="x", target=at_least(5)).is_reached


def test_findings_are_joined_in_their_order() -> None:
    table = Table(title="t", columns=("a",), rows=[])
    first = Findings(figures=[Figure(name="a", values=[1.0], unit="")], model={"a": 1.0})
    joined = join([first, Findings(tables=[table], model={"b": 2.0})])
    assert [figure.name for figure in joined.figures] == ["a"]
    assert (joined.tables, joined.model) == ([table], {"a": 1.0, "b": 2.0})
