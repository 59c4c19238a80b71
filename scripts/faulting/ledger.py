"""What clients know of what they wrote, and what it comes to when all is read back."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Fate(Enum):
    """What the writer of something knows about it; refused = the answer said `not_applied`."""

    ACKNOWLEDGED = "acknowledged"
    UNKNOWN = "unknown"
    REFUSED = "refused"


class Verdict(NamedTuple):
    """What reading back has shown. `invented` = never sent, refused, or there twice."""

    lost: int = 0
    invented: int = 0

    def plus(self, other: "Verdict") -> "Verdict":
        """Add what another reading has shown."""
        return Verdict(self.lost + other.lost, self.invented + other.invented)


@dataclass(slots=True)
class Register:
    """A value with one writer, who waits for each answer; None = it was deleted."""

    acknowledged: int | None = None
    possible: set[int | None] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)

    def note(self, number: int | None, fate: Fate) -> None:
        """Note what has become of a write."""
        if fate is Fate.ACKNOWLEDGED:
            self.acknowledged, self.possible = number, set()
        elif fate is Fate.UNKNOWN:
            self.possible.add(number)
        elif number is not None:
            self.refused.add(number)

    def check(self, found: int | None) -> Verdict:
        """Compare: what was written before is lost if an older value, or none, is there again."""
        if found == self.acknowledged or found in self.possible:
            return Verdict()
        if found is None:
            return Verdict(lost=1)
        is_strange = found in self.refused or self.acknowledged is None
        return Verdict(invented=1) if is_strange else Verdict(lost=1)


@dataclass(slots=True)
class Ledger:
    """All that was written: messages by session and number, and registers by their path."""

    messages: defaultdict[str, dict[int, Fate]] = field(default_factory=lambda: defaultdict(dict))
    registers: defaultdict[str, Register] = field(default_factory=lambda: defaultdict(Register))
    acknowledged: int = 0

    def note_message(self, session: str, number: int, fate: Fate) -> None:
        """Note what has become of a message."""
        self.messages[session][number] = fate
        self.acknowledged += fate is Fate.ACKNOWLEDGED

    def note_value(self, path: str, number: int | None, fate: Fate) -> None:
        """Note what has become of a write of a register."""
        self.registers[path].note(number, fate)
        self.acknowledged += fate is Fate.ACKNOWLEDGED

    def check_messages(self, session: str, found: Iterable[int]) -> Verdict:
        """Compare the numbers of all messages of a session."""
        fates, counts = self.messages[session], Counter(found)
        lost = sum(fate is Fate.ACKNOWLEDGED and not counts[n] for n, fate in fates.items())
        may_be_there = {n for n, fate in fates.items() if fate is not Fate.REFUSED}
        once = len(counts.keys() & may_be_there)
        return Verdict(lost=lost, invented=counts.total() - once)

    def check_value(self, path: str, found: int | None) -> Verdict:
        """Compare a register."""
        return self.registers[path].check(found)
