import pytest

from scripts.faulting.ledger import Fate, Ledger, Register, Verdict


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    for number, fate in enumerate(
        (Fate.ACKNOWLEDGED, Fate.ACKNOWLEDGED, Fate.UNKNOWN, Fate.REFUSED)
    ):
        ledger.note_message("chat", number, fate)
    return ledger


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([0, 1], Verdict()),
        ([1, 2, 0], Verdict()),
        ([1], Verdict(lost=1)),
        ([], Verdict(lost=2)),
        ([0, 1, 1], Verdict(invented=1)),
        ([0, 1, 2, 2], Verdict(invented=1)),
        ([0, 1, 3], Verdict(invented=1)),
        ([0, 1, 4], Verdict(invented=1)),
        ([0, 0, 3, 4], Verdict(lost=1, invented=3)),
    ],
)
def test_messages_are_there_once_if_acknowledged_and_not_if_refused(
    ledger: Ledger, found: list[int], verdict: Verdict
) -> None:
    assert ledger.acknowledged == 2
    assert ledger.check_messages("chat", found) == verdict


def register(*writes: tuple[int | None, Fate]) -> Register:
    register = Register()
    for number, fate in writes:
        register.note(number, fate)
    return register


WRITTEN = ((1, Fate.ACKNOWLEDGED), (2, Fate.ACKNOWLEDGED))
DELETED = (None, Fate.ACKNOWLEDGED)


@pytest.mark.parametrize(
    ("writes", "found", "verdict"),
    [
        ((), None, Verdict()),
        (WRITTEN, 2, Verdict()),
        (WRITTEN, 1, Verdict(lost=1)),
        (WRITTEN, None, Verdict(lost=1)),
        ((*WRITTEN, (3, Fate.UNKNOWN)), 3, Verdict()),
        ((*WRITTEN, (3, Fate.UNKNOWN)), 2, Verdict()),
        ((*WRITTEN, (3, Fate.UNKNOWN), (4, Fate.ACKNOWLEDGED)), 3, Verdict(lost=1)),
        ((*WRITTEN, (3, Fate.REFUSED)), 2, Verdict()),
        ((*WRITTEN, (3, Fate.REFUSED)), 3, Verdict(invented=1)),
        ((*WRITTEN, DELETED), None, Verdict()),
        ((*WRITTEN, DELETED), 2, Verdict(invented=1)),
        ((*WRITTEN, (None, Fate.UNKNOWN)), None, Verdict()),
        ((*WRITTEN, (None, Fate.REFUSED)), None, Verdict(lost=1)),
    ],
)
def test_a_value_is_the_last_that_was_acknowledged_or_a_later_one(
    writes: tuple[tuple[int | None, Fate], ...], found: int | None, verdict: Verdict
) -> None:
    assert register(*writes).check(found) == verdict
