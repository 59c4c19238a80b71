"""Two services on one Redis: no read is older than the contract allows, and /health says why."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from scripts.faulting.coherence import measure_lags, pair, record
from scripts.faulting.history import Event, Kind, check

CALLS = 800
DELAY_SECONDS = 0.5
"""More than a busy machine lets a process wait."""


def aged(events: Sequence[Event]) -> list[Event]:
    """Let one read of Redis answer what was there before a write that it should have seen."""
    for late in reversed([it for it in events if it.kind is Kind.READ_REDIS]):
        known = [it for it in events if not it.is_read and it.ended < late.began]
        for older in (it for it in events if it.is_read and it.version):
            if any(_is_older(older, write) for write in known):
                stale = replace(late, version=older.version, numbers=older.numbers)
                return [stale if it is late else it for it in events]
    raise AssertionError("no read saw less than another one")  # pragma: no cover


def _is_older(read: Event, write: Event) -> bool:
    if read.version is None or write.version is None or read.version.gen != write.version.gen:
        return False
    return read.version.rev < write.version.rev


@pytest.mark.parametrize(("may_track", "told"), [(True, "tracking"), (False, "none")])
async def test_no_read_is_older_than_it_may_be(told: str, *, may_track: bool) -> None:
    async with pair(may_track=may_track) as services:
        assert [service.redis()["invalidation"] for service in services] == [told, told]
        ports = [service.port for service in services]
        lags = await measure_lags(ports, 5)
        events = await record(ports, CALLS, Random(1))
        hits = [service.health()["hotTier"]["hits"] for service in services]

    assert len(lags) == 5
    assert all(hits)
    assert check(events, delay_seconds=DELAY_SECONDS) == []
    assert check(aged(events), delay_seconds=DELAY_SECONDS) != []
