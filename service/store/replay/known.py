"""What a process was told last of a session, against what Redis has of it."""

from dataclasses import dataclass

from service.codec import Header
from service.store.replay.log import Entry


@dataclass(slots=True)
class Known:
    """What this process was told last of a session; 0 = it was not told when that was."""

    gen: str = ""
    rev: int = 0
    updated_ms: int = 0
    renewed_ms: int = 0
    ends_ms: int = 0
    is_deleted: bool = False
    has_deleted: bool = False
    """Whether this process has ended a life of this id."""

    def hear(self, entry: Entry) -> None:
        """Take an entry into account that is newer than all before."""
        if entry.gen == self.gen and entry.rev < self.rev:
            return  # told late, as it had been lost on its way
        if entry.gen != self.gen:
            self.renewed_ms = 0
        if (entry.gen, entry.rev) != (self.gen, self.rev):
            self.gen, self.rev, self.updated_ms = entry.gen, entry.rev, 0
        self.updated_ms = self.updated_ms or entry.updated_ms
        if entry.renewed_ms >= self.renewed_ms and entry.name != "delete":
            self.renewed_ms, self.ends_ms = entry.renewed_ms, entry.ends_ms
        self.is_deleted = entry.name == "delete"
        self.has_deleted |= self.is_deleted

    def is_over(self, now_ms: int) -> bool:
        """Whether its time is over, unless others have renewed it."""
        return 0 < self.ends_ms <= now_ms

    def is_there(self, header: Header | None) -> bool:
        """Whether Redis has all of it, or more."""
        if header is None or header.gen != self.gen:
            return self.is_deleted
        if self.is_deleted or header.rev < self.rev:
            return False
        return header.created_at + header.renewed_after >= self.renewed_ms

    def is_contradicted(self, header: Header | None) -> bool:
        """Whether another write than the one that was told has led to the same revision."""
        if header is None or (header.gen, header.rev) != (self.gen, self.rev):
            return False
        updated_ms = header.created_at + header.updated_after
        return not self.is_deleted and self.updated_ms not in {0, updated_ms}
