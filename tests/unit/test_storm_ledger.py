import json

import pytest

from scripts.storming.ledger import Ledger, Recipe, Verdict

ONE, TWO, THREE = Recipe(1, 100), Recipe(2, 100), Recipe(3, 100)


@pytest.mark.parametrize("size", [64, 1_024, 4_000_000])
def test_a_recipe_makes_the_same_json_of_its_size_each_time(size: int) -> None:
    text = Recipe(7, size).text()
    assert text == Recipe(7, size).text()
    assert len(text) == size
    assert json.loads(text)["n"] == 7


def test_no_two_numbers_make_the_same_text() -> None:
    texts = {Recipe(number, 40).text() for number in range(2_000)}
    assert len(texts) == 2_000


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.note_messages("chat", 5, [ONE, TWO])
    ledger.note_value("login", ONE)
    return ledger


def test_what_is_there_as_it_was_written_is_well(ledger: Ledger) -> None:
    found = {5: ONE.text(), 6: TWO.text()}
    assert ledger.check_messages("chat", found) == Verdict(checked=2)
    assert ledger.check_value("login", ONE.text()) == Verdict(checked=1)


def test_a_lost_message_is_found(ledger: Ledger) -> None:
    assert ledger.check_messages("chat", {5: ONE.text()}) == Verdict(checked=2, lost=1)


def test_a_changed_message_is_found(ledger: Ledger) -> None:
    found = {5: ONE.text(), 6: TWO.text() + b" "}
    assert ledger.check_messages("chat", found) == Verdict(checked=2, changed=1)


def test_messages_that_have_changed_places_are_changed(ledger: Ledger) -> None:
    found = {5: TWO.text(), 6: ONE.text()}
    assert ledger.check_messages("chat", found) == Verdict(checked=2, changed=2)


def test_a_message_that_nobody_sent_is_a_changed_answer(ledger: Ledger) -> None:
    found = {5: ONE.text(), 6: TWO.text(), 7: THREE.text()}
    assert ledger.check_messages("chat", found) == Verdict(checked=2, changed=1)


def test_a_message_of_unknown_outcome_may_be_there_and_need_not(ledger: Ledger) -> None:
    ledger.doubt_messages("chat", [THREE])
    found = {5: ONE.text(), 6: TWO.text()}
    assert ledger.check_messages("chat", found) == Verdict(checked=2)
    assert ledger.check_messages("chat", found | {7: THREE.text()}) == Verdict(checked=2)


def test_a_lost_value_is_found(ledger: Ledger) -> None:
    assert ledger.check_value("login", None) == Verdict(checked=1, lost=1)


def test_a_changed_value_is_found(ledger: Ledger) -> None:
    assert ledger.check_value("login", TWO.text()) == Verdict(checked=1, changed=1)


def test_a_value_of_unknown_outcome_may_be_there_until_the_next_is_acknowledged(
    ledger: Ledger,
) -> None:
    ledger.doubt_value("login", TWO)
    assert ledger.check_value("login", TWO.text()) == Verdict(checked=1)
    assert ledger.check_value("login", ONE.text()) == Verdict(checked=1)
    ledger.note_value("login", THREE)
    assert ledger.check_value("login", TWO.text()) == Verdict(checked=1, changed=1)


def test_a_value_that_was_never_acknowledged_may_be_absent() -> None:
    ledger = Ledger()
    ledger.doubt_value("login", ONE)
    assert ledger.check_value("login", None) == Verdict()
    assert ledger.check_value("login", ONE.text()) == Verdict()


def test_verdicts_add_up() -> None:
    one = Verdict(checked=1, lost=2, changed=3, unread=4)
    assert one.plus(one) == Verdict(checked=2, lost=4, changed=6, unread=8)
