"""The hot tier in processes of its own: it takes the memory that it says, and gives it back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.memory.plan import FACTOR
from tests.unit.retention_child import MAKERS

ROOT = Path(__file__).parents[2]
CONTROLS = ["orjson", "zstandard"]


def output_of(child: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(child), *arguments],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout


def measured(shape: str, how: str) -> dict[str, float]:
    report: dict[str, float] = json.loads(output_of("hot_tier_child.py", shape, how))
    return report


@pytest.mark.parametrize("shape", ["bare", "small", "large", "logins", "mixed"])
def test_the_weight_of_sessions_is_the_memory_that_they_take(shape: str) -> None:
    report = measured(shape, "filled")

    assert 0.85 < report["rss"] / report["weight"] < FACTOR


@pytest.mark.parametrize("shape", ["open", "mixed"])
def test_so_it_is_after_half_of_them_were_evicted_at_random_and_came_back(shape: str) -> None:
    report = measured(shape, "churned")

    assert 0.85 < report["rss"] / report["weight"] < FACTOR


def test_a_collection_looks_at_nothing_of_fifty_thousand_sessions() -> None:
    report = measured("many", "filled")

    assert report["trackedPerSession"] < 0.05  # a block holds dozens


@pytest.mark.parametrize(
    ("shape", "how"),
    [("small", "random"), ("many", "random"), ("mixed", "random"), ("chats", "coldest")],
)
def test_what_is_evicted_goes_back_to_the_system(shape: str, how: str) -> None:
    report = measured(shape, how)

    assert report["returned"] > 0.8 * report["evicted"]


def kept_share(maker: str) -> float:
    """Bytes of memory to those of the strings that a maker makes, their headers included."""
    taken, known = map(int, output_of("retention_child.py", maker).split())
    return taken / known


@pytest.mark.parametrize("maker", [name for name in MAKERS if name not in CONTROLS])
def test_nothing_that_is_kept_holds_more_than_itself(maker: str) -> None:
    assert kept_share(maker) < 1.2


@pytest.mark.parametrize("maker", CONTROLS)
def test_what_libraries_return_would_hold_many_times_its_size(maker: str) -> None:
    assert kept_share(maker) > 2
