"""What the service has acknowledged: kept as recipes, found again byte for byte or missed."""

from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import NamedTuple

NOISE_BYTES = 8_388_608
STRIDE = 7_919
"""Texts of neighbouring numbers begin at different places of the noise."""


@cache
def noise() -> bytes:
    """Text that packs to three quarters at best; made once."""
    return b64encode(Random(1).randbytes(NOISE_BYTES * 3 // 4))  # noqa: S311 # data, no secret


class Recipe(NamedTuple):
    """A JSON text that can be made again; no two numbers give the same one."""

    number: int
    size: int

    def text(self) -> bytes:
        """Make it."""
        head = b'{"n":%d,"text":"' % self.number
        room = max(0, self.size - len(head) - 2)
        start = self.number * STRIDE % (NOISE_BYTES - room)
        return head + noise()[start : start + room] + b'"}'


class Verdict(NamedTuple):
    """What reading back has shown, in messages and values; `unread` = the service did not say."""

    checked: int = 0
    lost: int = 0
    changed: int = 0
    unread: int = 0

    def plus(self, other: "Verdict") -> "Verdict":
        """Add what another reading has shown."""
        return Verdict(*(mine + its for mine, its in zip(self, other, strict=True)))


@dataclass(slots=True)
class Log:
    """Messages of a session by their seq, and those of which nobody knows whether they are in."""

    acknowledged: dict[int, Recipe] = field(default_factory=dict)
    possible: set[Recipe] = field(default_factory=set)


@dataclass(slots=True)
class Value:
    """One state value: what was acknowledged last, and what may have been written since."""

    acknowledged: Recipe | None = None
    possible: set[Recipe] = field(default_factory=set)


@dataclass(slots=True)
class Ledger:
    """All that was written. A value has one writer, who waits for each answer."""

    logs: defaultdict[str, Log] = field(default_factory=lambda: defaultdict(Log))
    values: defaultdict[str, Value] = field(default_factory=lambda: defaultdict(Value))

    def note_messages(self, session: str, first_seq: int, recipes: Iterable[Recipe]) -> None:
        """Note an append that was acknowledged."""
        self.logs[session].acknowledged.update(enumerate(recipes, first_seq))

    def doubt_messages(self, session: str, recipes: Iterable[Recipe]) -> None:
        """Note an append that may have been applied."""
        self.logs[session].possible.update(recipes)

    def note_value(self, session: str, recipe: Recipe) -> None:
        """Note a value that was acknowledged."""
        self.values[session] = Value(acknowledged=recipe)

    def doubt_value(self, session: str, recipe: Recipe) -> None:
        """Note a value that may have been written."""
        self.values[session].possible.add(recipe)

    def check_messages(self, session: str, found: Mapping[int, bytes]) -> Verdict:
        """Compare all messages of a session; one that nobody sent counts as changed."""
        log = self.logs[session]
        kept = {seq: recipe for seq, recipe in log.acknowledged.items() if seq in found}
        changed = sum(found[seq] != recipe.text() for seq, recipe in kept.items())
        possible = {recipe.text() for recipe in log.possible}
        strange = sum(text not in possible for seq, text in found.items() if seq not in kept)
        lost = len(log.acknowledged) - len(kept)
        return Verdict(checked=len(log.acknowledged), lost=lost, changed=changed + strange)

    def check_value(self, session: str, found: bytes | None) -> Verdict:
        """Compare the value of a session; None = there is none."""
        value = self.values[session]
        expected = {recipe.text() for recipe in value.possible}
        if value.acknowledged:
            expected.add(value.acknowledged.text())
        checked = int(value.acknowledged is not None)
        if found is None:
            return Verdict(checked=checked, lost=checked)
        return Verdict(checked=checked, changed=int(found not in expected))
