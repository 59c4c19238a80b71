"""What the random test does too seldom to rely on, a step at a time."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from httpx import Response

from tests.agreement import Difference
from tests.reference import CALLS_REMEMBERED, Reference
from tests.reference_nouns import JSON, Answer, Call, Session
from tests.stateful.driver import WHOLE, Driver
from tests.stateful.operations import Op

Do = Callable[..., None]


@pytest.fixture
def do(driver: Driver, runner: asyncio.Runner) -> Do:
    """Give a way to do operations one after the other, and to look at all in the end."""

    def do(*ops: Op) -> None:
        for op in ops:
            runner.run(driver.one(op, 0))
        runner.run(driver.end())

    return do


def append(*texts: str, key: str = "", **settings: object) -> Op:
    messages = tuple(text.encode() for text in texts)
    return Op("append", "a", {"messages": messages, "settings": settings}, key=key)


def read(**window: object) -> Op:
    return Op("read_messages", "a", {"window": window})


def put_value(text: bytes, media_type: str = JSON, **args: object) -> Op:
    return Op("put_value", "a", {"key": "k", "value": (media_type, text), **args})


def put_session(**settings: object) -> Op:
    return Op("put_session", "a", {"settings": settings})


def test_of_two_equal_calls_at_once_one_is_done(driver: Driver, runner: asyncio.Runner) -> None:
    op = append("{}", key="key-1")
    runner.run(driver.both(op, op, (0, 0)))
    assert (driver.steps["append 201"], driver.steps["in progress"]) == (1, 1)
    runner.run(driver.end())


def test_two_equal_calls_of_two_processes_are_both_answered(
    driver: Driver, runner: asyncio.Runner
) -> None:
    op = append("{}", key="key-1")
    runner.run(driver.both(op, op, (0, 1)))
    assert (driver.steps["append 201"], driver.steps["in progress"]) == (2, 0)
    runner.run(driver.end())


def test_only_the_last_calls_are_remembered(driver: Driver, do: Do) -> None:
    calls = [append("{}", key=f"key-{n}") for n in range(CALLS_REMEMBERED + 1)]
    do(*calls, calls[-1], calls[0], read())
    assert driver.worlds[0].sessions == {}
    assert driver.tags["a"][-3] == f'{driver.tags["a"][0].rpartition("-")[0]}-{len(calls) + 1}"'


def test_a_popped_message_comes_again_with_its_key(do: Do) -> None:
    pop = Op("pop_messages", "a", {"last": 1}, key="key-1")
    do(append('{"n":1}', '{"n":2}'), pop, pop, read())


def test_messages_are_read_since_the_time_of_one(do: Do) -> None:
    do(append("{}", "{}"), read(), append('{"n":1.0}'), read(), read(since=3))


def test_a_message_alone_is_what_is_in_the_list(do: Do) -> None:
    do(append("{}", "{ }"), Op("read_message", "a", {"seq": 2}), read(max_bytes=4))


def test_more_messages_than_may_be_held_replace_nothing(driver: Driver, do: Do) -> None:
    texts = {"messages": (b"{}", b"{}"), "settings": {"max_messages": 1}}
    do(append("{}"), Op("replace_messages", "a", texts))
    assert driver.steps["replace_messages 413"] == 1


@pytest.mark.parametrize("value", [(b'{"x":1,"x":2}', JSON), (b"raw", "text/plain")])
def test_what_cannot_be_kept_is_not_merged(
    driver: Driver, do: Do, value: tuple[bytes, str]
) -> None:
    merge = Op("write_state", "a", {"merge": {"k": {"a": 1}}, "settings": {}})
    do(put_value(*value), merge, Op("read_value", "a", {"key": "k"}))
    assert driver.steps["write_state 422"] == 1


def test_a_copy_has_all_but_the_remembered_calls(driver: Driver, do: Do) -> None:
    op = append('{"id":1}', key="key-1")
    op = replace(op, args={**op.args, "dedupe": "id"})
    again = replace(op, sid="d")
    do(op, put_value(b"1", key_ttl=60), Op("copy_session", "a", {"to": "d"}), again)
    assert driver.steps["append 200"] == 1


def test_a_read_renews_once_a_second(driver: Driver, runner: asyncio.Runner, do: Do) -> None:
    runner.run(driver.one(put_session(ttl=60, touch="access"), 0))
    runner.run(driver.one(read(), 1))
    runner.run(driver.wait(is_wanted=True))
    do(read(), read())


def test_an_end_is_waited_for(driver: Driver, runner: asyncio.Runner, do: Do) -> None:
    runner.run(driver.one(put_session(ttl=0.1), 0))
    runner.run(driver.wait(is_wanted=True))
    do(Op("read_session", "a", WHOLE))
    assert driver.steps["read_session 404"] == 1


class Slow(Driver):
    """Sends so late that what ends soon has ended."""

    async def send(self, call: Call, who: int, *, head: bool) -> Response:
        if call.operation != "put_session":
            await asyncio.sleep(0.2)
        return await super().send(call, who, head=head)


def test_what_ends_in_the_midst_of_a_call_proves_nothing(
    driver: Driver, runner: asyncio.Runner
) -> None:
    slow = Slow(driver.clients, driver.redis)
    runner.run(slow.begin())
    ends: list[Any] = [slow.one(read(), 0), slow.both(read(), read(), (0, 1))]
    for end in ends:
        runner.run(slow.one(put_session(ttl=0.15), 0))
        runner.run(end)
        assert slow.worlds[0].sessions == {}
    assert slow.steps["abandoned"] == 2


def test_what_ends_by_one_of_two_calls_at_once_proves_nothing(
    driver: Driver, runner: asyncio.Runner
) -> None:
    runner.run(driver.one(append("{}"), 0))
    runner.run(driver.both(put_session(max_age=0.001), read(), (0, 1)))
    assert driver.steps["abandoned"] == 1
    runner.run(driver.end())


def test_an_answer_that_is_not_expected_is_told_with_what_led_to_it(
    driver: Driver, runner: asyncio.Runner
) -> None:
    listing = Op("list_sessions", "a", {"prefix": "", "limit": 0})
    runner.run(driver.one(append("{}"), 0))
    with pytest.raises(Difference, match=r"(?s)POST /v1/sessions/a/messages.*status 400, not 200"):
        runner.run(driver.one(listing, 0))
    runner.run(driver.end())
    assert driver.worlds[0].sessions.keys() == {"a"}


class CountsDuplicates(Reference):
    def append(self, call: Call) -> Answer:
        """An append of duplicates alone is a change."""
        answer = super().append(call)
        if answer.status == 200:
            self.sessions[call.sid].rev += 1
        return answer


class ForgetsTheTrimmed(Reference):
    def _written(self, session: Session, call: Call, *, created: bool, changed: bool) -> None:
        """What max_messages trims is forgotten by dedupe."""
        super()._written(session, call, created=created, changed=changed)
        session.memory = {q: known for q, known in session.memory.items() if q in session.messages}


@pytest.mark.parametrize("wrong", [CountsDuplicates, ForgetsTheTrimmed])
def test_a_rule_that_is_seldom_needed_is_compared(
    driver: Driver, do: Do, runner: asyncio.Runner, wrong: type[Reference]
) -> None:
    driver.rules = wrong
    runner.run(driver.begin())
    held = append('{"id":1}', '{"id":2}', max_messages=1)
    again = append('{"id":1}')
    ops = [replace(op, args={**op.args, "dedupe": "id"}) for op in (held, again)]
    with pytest.raises(Difference):
        do(*ops)
