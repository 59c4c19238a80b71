"""Samples of a load, figures with their spread, targets and whether they are met."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

from scripts.benchmark.plot import Plot


class BenchmarkError(Exception):
    """It cannot go on, or measured nothing that counts; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a generator saw: requests that were answered 2xx, and how long they took."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    slowest_us: float

    @property
    def per_second(self) -> float:
        """Requests in a second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One load on one peer, with the CPU that a request took on each side."""

    load: Load
    service_cpu_us: float
    redis_cpu_us: float
    redis_reads: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The middle and the ends of what several rounds gave."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Sum up the rounds."""
    return Spread(median=median(values), low=min(values), high=max(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Divide round by round: what slows a whole round down slows both sides of it."""
    return [our / their for our, their in zip(ours, theirs, strict=True)]


class Bound(StrEnum):
    """On which side of the target it is well."""

    AT_LEAST = ">="
    AT_MOST = "<="


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a figure should come to. `gross` is the value at which even a small run fails."""

    bound: Bound
    value: float
    gross: float | None = None

    def is_reached(self, value: float) -> bool:
        """Whether a value is on the right side, or on the target itself."""
        return self._holds(value, self.value)

    def is_gross(self, value: float) -> bool:
        """Whether a value is so far off that no noise explains it."""
        return self.gross is not None and not self._holds(value, self.gross)

    def _holds(self, value: float, limit: float) -> bool:
        return value >= limit if self.bound is Bound.AT_LEAST else value <= limit


def at_least(value: float, *, gross: float | None = None) -> Target:
    """A target from below."""
    return Target(bound=Bound.AT_LEAST, value=value, gross=gross)


def at_most(value: float, *, gross: float | None = None) -> Target:
    """A target from above."""
    return Target(bound=Bound.AT_MOST, value=value, gross=gross)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the page: a value a round, its unit ("x" for a ratio), and its target if any."""

    name: str
    values: list[float] = field(repr=False)
    unit: str
    target: Target | None = None

    @property
    def spread(self) -> Spread:
        """The rounds, summed up."""
        return spread(self.values)

    @property
    def is_reached(self) -> bool | None:
        """Whether the median meets the target; None without one."""
        return self.target.is_reached(self.spread.median) if self.target else None

    @property
    def is_gross(self) -> bool:
        """Whether the median is a gross regression."""
        return self.target is not None and self.target.is_gross(self.spread.median)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows for the page; the first column names them."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a part of the benchmark found. `model` is what scripts/capacity computes with."""

    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    model: dict[str, float] = field(default_factory=dict)


def join(parts: Sequence[Findings]) -> Findings:
    """Put the findings of several parts behind each other."""
    return Findings(
        figures=[figure for part in parts for figure in part.figures],
        tables=[table for part in parts for table in part.tables],
        plots=[plot for part in parts for plot in part.plots],
        model={name: value for part in parts for name, value in part.model.items()},
    )
