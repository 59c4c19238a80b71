"""Which tier Redis is in: the marks of memory, by what Redis says of itself. And it goes on."""

import asyncio
import logging

import pytest

from service.clock import SystemClock
from service.errors import Unavailable
from service.hot import HotTier
from service.model import Limits
from service.redis_pressure import INTERVAL_SECONDS, RedisPolicy, RedisPressure, tier_of
from service.rounds import Rounds
from service.sealing import Sealer
from service.store import Census, Defaults, Link, RedisStore, RedisTarget, Watch
from service.vitals import StoreStatus, Tier

NORMAL, STANDARD, EMERGENCY = Tier.NORMAL, Tier.STANDARD, Tier.EMERGENCY


def told(used: int | None, most: int | None = 1_000) -> StoreStatus:
    return StoreStatus(connected=True, used_memory_bytes=used, max_memory_bytes=most)


@pytest.mark.parametrize(
    ("before", "used", "after"),
    [
        (NORMAL, 0, NORMAL),
        (NORMAL, 699, NORMAL),
        (NORMAL, 700, STANDARD),
        (NORMAL, 849, STANDARD),
        (NORMAL, 850, EMERGENCY),
        (NORMAL, 1_001, EMERGENCY),
        (STANDARD, 601, STANDARD),
        (STANDARD, 600, NORMAL),
        (STANDARD, 850, EMERGENCY),
        (EMERGENCY, 701, EMERGENCY),
        (EMERGENCY, 700, STANDARD),
        (EMERGENCY, 600, NORMAL),
    ],
)
def test_a_tier_has_a_mark_where_it_begins_and_a_lower_one_where_it_ends(
    before: Tier, used: int, after: Tier
) -> None:
    assert tier_of(before, told(used)) is after


@pytest.mark.parametrize("before", list(Tier))
def test_without_a_limit_nothing_presses(before: Tier) -> None:
    assert tier_of(before, told(10**12, None)) is NORMAL


@pytest.mark.parametrize("before", list(Tier))
def test_a_redis_that_does_not_tell_is_as_it_was(before: Tier) -> None:
    assert tier_of(before, told(None)) is before


def pressure_of_no_redis() -> RedisPressure:
    link, clock, hot = Link(RedisTarget(url=None)), SystemClock(), HotTier(1_000)
    store = RedisStore(link, Limits(), Defaults(ttl_ms=0, max_messages=1, dedupe_window=1))
    rounds = Rounds(Census(link), store, hot, Sealer(store, hot, clock), clock)
    return RedisPressure(Watch(link, clock, connections_max=1), rounds, clock, RedisPolicy())


@pytest.mark.parametrize(
    ("error", "failures", "logged"),
    [(Unavailable("Redis is away."), 0, []), (ValueError(), 1, ["Relieving Redis failed"])],
)
async def test_it_goes_on_whatever_happens(
    error: Exception,
    failures: int,
    logged: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pressure, ticks = pressure_of_no_redis(), asyncio.Queue[int]()

    async def tick() -> None:
        ticks.put_nowait(pressure.failures)
        if ticks.qsize() == 1:
            raise error

    monkeypatch.setattr(pressure, "tick", tick)
    monkeypatch.setattr("service.redis_pressure.INTERVAL_SECONDS", 0)
    running = asyncio.create_task(pressure.run())
    async with asyncio.timeout(INTERVAL_SECONDS):
        while ticks.qsize() < 3:  # noqa: ASYNC110 # turns of the loop, no time
            await asyncio.sleep(0)
    running.cancel()

    assert pressure.failures == failures
    assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == logged


async def test_without_redis_nothing_presses() -> None:
    pressure = pressure_of_no_redis()
    await pressure.tick()
    assert pressure.status.tier is NORMAL
