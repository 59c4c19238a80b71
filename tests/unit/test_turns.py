"""Turns: one at a time and in order, per key; nothing is left when nobody waits."""

import asyncio

import pytest

from service.turns import Turns


async def settle() -> None:
    """Let all tasks come as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


class Ward:
    """Those who came in, in their order, and a door for each to leave by."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.came: list[str] = []
        self.doors: dict[str, asyncio.Event] = {}

    def enter(self, key: str, name: str) -> asyncio.Task[None]:
        self.doors[name] = asyncio.Event()
        return asyncio.create_task(self._stay(key, name))

    async def _stay(self, key: str, name: str) -> None:
        async with self.turns.of(key):
            self.came.append(name)
            await self.doors[name].wait()

    def is_empty(self) -> bool:
        return not self.turns._lines


async def test_one_at_a_time_first_come_first_served() -> None:
    ward = Ward()
    tasks = [ward.enter("key", name) for name in "abc"]
    for count, name in enumerate("abc", 1):
        await settle()
        assert ward.came == list("abc")[:count]
        ward.doors[name].set()
    await asyncio.gather(*tasks)

    assert ward.is_empty()


async def test_keys_do_not_wait_for_each_other() -> None:
    ward = Ward()
    tasks = [ward.enter(name, name) for name in "abc"]
    await settle()
    assert ward.came == ["a", "b", "c"]
    for door in ward.doors.values():
        door.set()
    await asyncio.gather(*tasks)

    assert ward.is_empty()


async def test_who_gives_up_is_passed_over() -> None:
    ward = Ward()
    first, second, third = (ward.enter("key", name) for name in "abc")
    await settle()
    second.cancel()
    await settle()
    ward.doors["a"].set()
    ward.doors["c"].set()
    await asyncio.gather(first, third)

    assert second.cancelled()
    assert ward.came == ["a", "c"]
    assert ward.is_empty()


async def test_who_is_cancelled_in_his_turn_leaves_it_to_the_next() -> None:
    ward = Ward()
    first, second = ward.enter("key", "a"), ward.enter("key", "b")
    await settle()
    first.cancel()
    await settle()
    assert ward.came == ["a", "b"]
    ward.doors["b"].set()
    await second

    assert ward.is_empty()


async def test_an_error_ends_a_turn() -> None:
    ward = Ward()
    with pytest.raises(KeyError):
        async with ward.turns.of("key"):
            raise KeyError

    assert ward.is_empty()
    async with ward.turns.of("key"):
        assert not ward.is_empty()
