"""A trace of allocations: it ends when it should, and leaves nothing behind."""

import sys
import tracemalloc
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect

from service.memory import allocations
from service.memory.allocations import trace_allocations

pytestmark = pytest.mark.anyio


async def go_on() -> None:
    """Somebody wants to know."""


async def test_it_ends_early_when_the_traces_themselves_take_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allocations, "MOST_TRACE_BYTES", -1)
    traced = await trace_allocations(60, 5, go_on)

    assert traced.seconds == 0
    assert not tracemalloc.is_tracing()


async def test_it_ends_when_nobody_wants_to_know() -> None:
    async def leave() -> None:
        raise ClientDisconnect

    with pytest.raises(ClientDisconnect):
        await trace_allocations(60, 5, leave)
    assert not tracemalloc.is_tracing()


async def test_it_tells_files_as_imports_find_them(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = list[bytearray]()

    async def allocate() -> None:
        kept.append(bytearray(1_000_000))

    monkeypatch.setattr(
        sys, "path", ["", str(Path(__file__).parent), str(Path(__file__).parents[1])]
    )
    traced = await trace_allocations(0.5, 1, allocate)

    (place,) = traced.places
    assert place.file == "test_allocations.py"
    assert traced.seconds == 0.5
    assert place.count >= len(kept) == 2
    assert 2_000_000 <= place.size_bytes <= traced.size_bytes
    monkeypatch.setattr(sys, "path", [])
    assert (await trace_allocations(0.25, 1, allocate)).places[0].file == __file__
