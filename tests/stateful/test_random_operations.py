"""Random operations from two clients on one Redis: the service does what the reference does.

`STATEFUL_STEPS=100000` runs so many operations on each server instead of some seconds' worth.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from service.model import Freshness, Reading, SessionRef, View
from service.sessions import Sessions
from tests.agreement import Difference
from tests.reference import Reference
from tests.reference_nouns import Answer, Call
from tests.stateful.driver import WHOLE, Driver
from tests.stateful.operations import Op, keyed_ops, ops

STEPS = int(os.environ.get("STATEFUL_STEPS", "1000"))
RULES_A_RUN = 50
STEPS_A_RUN = 60
LEAST_STEPS = 600  # hypothesis begins with runs of hardly any step
CONTROL_STEPS = 20_000
ONE_IN = 10
FRESH = Freshness()

ANYTHING, KEYED = ops(), keyed_ops()
# A listing of values is two calls to Redis, of sessions even more: no order explains those.
ATOMIC = ANYTHING.filter(lambda op: not op.args.get("values") and op.name != "list_sessions")
CLIENTS = st.integers(0, 1)
PAIRS = st.tuples(CLIENTS, CLIENTS)


class Machine(RuleBasedStateMachine):
    """What hypothesis does with a driver; a subclass names the driver."""

    driver: ClassVar[Driver]
    runner: ClassVar[asyncio.Runner]

    def __init__(self) -> None:
        super().__init__()
        self.runner.run(self.driver.begin())

    @rule(op=ANYTHING, who=CLIENTS)
    def one(self, op: Op, who: int) -> None:
        self.runner.run(self.driver.one(op, who))

    @rule(op=ANYTHING, who=CLIENTS)
    def seen_by_the_other(self, op: Op, who: int) -> None:
        self.runner.run(self.driver.one(op, who))
        self.runner.run(self.driver.one(Op("read_session", op.sid, WHOLE), 1 - who))

    @rule(first=ATOMIC, second=ATOMIC, who=PAIRS)
    def both(self, first: Op, second: Op, who: tuple[int, int]) -> None:
        self.runner.run(self.driver.both(first, second, who))

    @rule(op=KEYED, who=PAIRS, is_at_once=st.booleans())
    def again(self, op: Op, who: tuple[int, int], *, is_at_once: bool) -> None:
        if is_at_once:
            self.runner.run(self.driver.both(op, op, who))
        else:
            self.runner.run(self.driver.one(op, who[0]))
            self.runner.run(self.driver.one(op, who[1]))

    @rule(chance=st.integers(1, ONE_IN))
    def wait(self, chance: int) -> None:
        self.runner.run(self.driver.wait(is_wanted=chance == ONE_IN))

    @rule(chance=st.integers(1, ONE_IN))
    def lose(self, chance: int) -> None:
        self.runner.run(self.driver.lose(is_wanted=chance == ONE_IN))

    def teardown(self) -> None:
        self.runner.run(self.driver.end())


Explore = Callable[..., None]


@pytest.fixture
def explore(driver: Driver, runner: asyncio.Runner) -> Explore:
    """Give a way to run about so many steps, or until a difference is found."""

    machine = type("Driven", (Machine,), {"driver": driver, "runner": runner})

    def explore(steps: int, *phases: Phase) -> None:
        ways = settings(
            max_examples=max(1, steps // STEPS_A_RUN),
            stateful_step_count=RULES_A_RUN,
            deadline=None,
            derandomize=False,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=phases or (Phase.generate,),
        )
        try:
            run_state_machine_as_test(machine, settings=ways)
        except (Difference, Flaky) as found:
            # Flaky: it depends on time, or on what the hot tier holds, but it was seen.
            raise Difference(driver.difference) from found

    return explore


@pytest.mark.timeout(400 + STEPS // 10)  # a difference takes minutes to be made small
def test_two_clients_find_what_the_reference_says(
    driver: Driver,
    explore: Explore,
    record_property: Callable[[str, object], None],
    sealings: Counter[bool],
) -> None:
    while driver.steps["steps"] < STEPS:
        explore(max(LEAST_STEPS, STEPS - driver.steps["steps"]))
    assert sealings[True] > STEPS / 50
    driver.steps["chunks taken"], driver.steps["too late"] = sealings[True], sealings[False]
    record_property("stateful", driver.summary())


class RemembersNoCall(Reference):
    def _remember(self, call: Call, answer: Answer) -> None:
        """A call with a known Idempotency-Key is done again."""


@pytest.mark.timeout(180)
def test_a_wrong_rule_is_found(driver: Driver, explore: Explore) -> None:
    driver.rules = RemembersNoCall
    with pytest.raises(Difference):
        explore(CONTROL_STEPS, Phase.generate)


@pytest.mark.timeout(180)
def test_a_hot_tier_that_is_not_revalidated_is_found(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Sessions.read

    async def read_what_is_held(
        self: Sessions, ref: SessionRef, reading: Reading, freshness: Freshness = FRESH
    ) -> View | None:
        held = self._hot.get(ref)
        view = held.view(reading, self._clock.monotonic()) if held else None
        return view or await read(self, ref, reading, freshness)

    monkeypatch.setattr(Sessions, "read", read_what_is_held)
    with pytest.raises(Difference):
        explore(CONTROL_STEPS, Phase.generate)
