"""What the clients of a row share: where the services are, the ledger, and what was answered."""

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random

from scripts.faulting.ledger import Fate, Ledger
from scripts.storming.wire import Reply

DETAIL = re.compile(rb'"detail":"([^"]*)"')
TAKEN, READ = "2xx", "read"
NO_SERVER, NO_ANSWER = "connection refused", "no answer"
TOLD = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE})


@dataclass(slots=True)
class Answers:
    """What was answered while somebody watched, and how long the slowest took."""

    seen: Counter[str] = field(default_factory=Counter)
    details: set[str] = field(default_factory=set)
    worst_ms: float = 0.0
    is_watched: bool = False

    def begin(self) -> None:
        """Watch from now on: what was answered before does not count."""
        self.seen.clear()
        self.details.clear()
        self.worst_ms, self.is_watched = 0.0, True

    def note(self, label: str, seconds: float, detail: str = "") -> None:
        """Count an answer, and keep what it says in words."""
        if self.is_watched:
            self.seen[label] += 1
            self.details.add(detail)
            self.worst_ms = max(self.worst_ms, seconds * 1e3)

    def have_shown(self, words: str) -> bool:
        """Whether an answer was of that kind, or said so."""
        return any(words in text for text in (*self.seen, *self.details))


@dataclass(slots=True, kw_only=True)
class Scene:
    """A row while it runs. `broken` = sentences on promises that did not hold.

    `may_lose`: what nobody promises to keep, in writes; None = everything. `untrue` = reads that
    told of less, or of more, than there had to be.
    """

    ports: list[int]
    random: Random
    ledger: Ledger = field(default_factory=Ledger)
    answers: Answers = field(default_factory=Answers)
    untrue: int = 0
    may_lose: int | None = 0
    remarks: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    over_at: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing new is to be begun."""
        return self.over_at is not None

    def is_hopeless(self, patience_seconds: float) -> bool:
        """Whether it has been over for so long that what was begun is given up."""
        return self.over_at is not None and time.monotonic() > self.over_at + patience_seconds

    def end(self) -> None:
        """Begin nothing new."""
        self.over_at = time.monotonic()

    def expect(self, *, holds: bool, otherwise: str) -> None:
        """Note a promise that does not hold, once."""
        if not holds and otherwise not in self.broken:
            self.broken.append(otherwise)


def label_of(reply: Reply) -> str:
    """Say an answer in a few words: its status, and of a refusal its code and outcome."""
    if reply.status < HTTPStatus.BAD_REQUEST:
        return TAKEN
    words = [str(reply.status), reply.code, outcome_of(reply)]
    return " ".join(word for word in words if word)


def detail_of(reply: Reply) -> str:
    """Return what a problem document says in words; empty where there is none."""
    found = DETAIL.search(reply.body) if reply.code else None
    return found[1].decode() if found else ""


def outcome_of(reply: Reply) -> str:
    """Return what a refusal says of the write; empty if nothing."""
    is_known = {b'"outcome":"unknown"': "unknown", b'"outcome":"not_applied"': "not_applied"}
    return next((word for text, word in is_known.items() if text in reply.body), "")


def fate_of(reply: Reply) -> Fate | None:
    """Return what an answer says of the write; None = it is one that should not be."""
    if HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES:
        return Fate.ACKNOWLEDGED
    if reply.status not in TOLD:
        return None
    return Fate.UNKNOWN if outcome_of(reply) == "unknown" else Fate.REFUSED
