"""What comes of playing the writes of one life of a session once, in their order."""

from dataclasses import dataclass
from math import inf

from service.store.replay.staged import OneStaged

PLAYED, GONE = b"ok", b"gone"
FAILED = frozenset(
    (b"gap", b"other", b"absent", b"refused", b"moved", b"conflict", b"too_many", b"exists")
)


@dataclass(slots=True)
class Pass:
    """What came of playing a life once.

    `rev`: the last that is there. `gap`: the revision behind which something is missing that was
    written before `before_ms`; `is_unkept`: it is known what, and that it is lost. `has_ended`:
    the session was deleted later. So many of ours failed.
    """

    rev: int = 0
    gap: int | None = None
    before_ms: float = inf
    is_unkept: bool = False
    has_ended: bool = False
    lost: int = 0
    has_played: bool = False

    def hear(self, each: OneStaged, outcome: bytes, rev: int) -> None:
        """Take an outcome into account."""
        self.has_played |= outcome == PLAYED and each.entry.has_changed
        self.has_ended |= outcome == GONE
        if outcome not in FAILED:
            self.rev = max(self.rev, rev)
            return
        self.lost += each.is_mine and each.entry.has_changed
        if self.gap is None and not self.is_unkept:
            self.is_unkept = outcome != b"gap"
            if outcome == b"gap":
                self.gap, self.before_ms = rev, each.entry.at_ms
