import pytest

from service.memory.growth import Growth, Sample, early_tier, seconds_to_quota, steady_rate
from service.memory.tiers import DEFAULT_MARKS
from service.vitals import MemoryReading, Tier, Watermarks

NORMAL, STANDARD, EMERGENCY = Tier.NORMAL, Tier.STANDARD, Tier.EMERGENCY
CLOSE_MARKS = Watermarks(
    standard_enter=0.40, standard_leave=0.30, emergency_enter=0.41, emergency_leave=0.40
)


def test_growth_is_projected_over_the_last_ten_seconds() -> None:
    growth = Growth()
    for second in range(31):
        growth.add(float(second), 100 + 10 * max(0, second - 20))
    assert growth.seconds_to(1_000) == pytest.approx(80)


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [(0.0, 10)],
        [(0.0, 10), (0.5, 100)],
        [(0.0, 10), (5.0, 10)],
        [(0.0, 10), (5.0, 5)],
        [(0.0, 10), (9.0, 11)],
    ],
)
def test_without_growth_there_is_no_projection(samples: list[tuple[float, int]]) -> None:
    growth = Growth()
    for now, used_bytes in samples:
        growth.add(now, used_bytes)
    assert growth.seconds_to(1_000) is None


@pytest.mark.parametrize(
    ("uses", "rate"),
    [
        ([], 0),
        ([100], 0),
        ([100, 100], 0),
        ([100, 110, 120, 130, 140], 100),
        ([100, 110, 120, 160, 200], 100),
        ([100, 140, 180, 190, 200], 100),
        ([100, 100, 900, 900, 900], 0),
        ([100, 100, 100, 900, 900], 0),
        ([900, 800, 700, 600, 500], 0),
        ([100, 200, 300, 200, 100], 0),
    ],
)
def test_growth_is_steady_if_both_halves_of_a_second_show_it(uses: list[int], rate: float) -> None:
    samples = [Sample(number / 10, used_bytes) for number, used_bytes in enumerate(uses)]
    assert steady_rate(samples) == pytest.approx(rate)


def test_samples_of_one_moment_show_no_growth() -> None:
    assert steady_rate([Sample(1.0, 5), Sample(1.0, 50), Sample(1.0, 500)]) == 0


def test_the_recent_rate_is_that_of_the_last_second() -> None:
    growth = Growth()
    for number in range(50):
        growth.add(number / 10, 1_000)
    assert growth.recent_rate() == 0
    for number in range(50, 62):
        growth.add(number / 10, 1_000 + 100 * (number - 49))
    assert growth.recent_rate() == pytest.approx(1_000)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_few_samples_show_no_recent_rate(count: int) -> None:
    growth = Growth()
    for number in range(count):
        growth.add(number / 10, 1_000 * number)
    assert growth.recent_rate() == 0


@pytest.mark.parametrize(
    ("used_bytes", "rate", "seconds"),
    [(600, 100.0, 4.0), (600, 0.0, None), (1_000, 10.0, 0.0), (1_200, 10.0, 0.0)],
)
def test_the_quota_is_reached_when_its_rest_has_grown(
    used_bytes: int, rate: float, seconds: float | None
) -> None:
    reading = MemoryReading(
        used_bytes=used_bytes, quota_bytes=1_000, usage_source="", quota_source=""
    )
    assert seconds_to_quota(reading, rate) == seconds


@pytest.mark.parametrize(
    ("fraction", "seconds", "marks", "tier"),
    [
        (0.649, 0.1, DEFAULT_MARKS, NORMAL),
        (0.65, 3.0, DEFAULT_MARKS, STANDARD),
        (0.65, 3.1, DEFAULT_MARKS, NORMAL),
        (0.65, None, DEFAULT_MARKS, NORMAL),
        (0.749, 0.1, DEFAULT_MARKS, STANDARD),
        (0.75, 3.0, DEFAULT_MARKS, EMERGENCY),
        (0.75, 3.1, DEFAULT_MARKS, NORMAL),
        (0.99, None, DEFAULT_MARKS, NORMAL),
        (0.36, 1.0, CLOSE_MARKS, STANDARD),
        (0.40, 1.0, CLOSE_MARKS, EMERGENCY),
    ],
)
def test_growth_that_fills_the_quota_soon_enters_a_tier_a_little_early(
    fraction: float, seconds: float | None, marks: Watermarks, tier: Tier
) -> None:
    assert early_tier(fraction, seconds, marks) is tier
