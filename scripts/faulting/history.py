"""What several clients did to one session, and whether any read was older than may be.

Every write has a place: the generation and revision that its answer named. So no search for an
order is needed. A read is refused only if it is certainly too old: what was under way at the same
time may have come first or last.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a client did."""

    APPEND = "append"
    SET = "set"
    UNSET = "unset"
    DELETE = "delete"
    READ = "read"
    READ_REDIS = "read, no-cache"


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Version:
    """An ETag of a session."""

    gen: str
    rev: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One call and its answer, on one clock in seconds.

    `version`: what the answer named; None = there is no session (any more). `number`: what was
    written. `numbers`: what a read saw, messages in their order, then the value if there is one.
    """

    kind: Kind
    process: int
    began: float
    ended: float
    version: Version | None = None
    number: int = 0
    numbers: tuple[int, ...] = ()

    @property
    def is_read(self) -> bool:
        """Whether it changed nothing."""
        return self.kind in {Kind.READ, Kind.READ_REDIS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """A read that may not be, and what it should have known of."""

    read: Event
    known: Event
    why: str


def check(events: Sequence[Event], *, delay_seconds: float) -> list[Stale]:
    """Return the reads that are too old; `delay_seconds` is what another process may lag behind."""
    births = _births(events)
    found = []
    for read in (event for event in events if event.is_read):
        for known in events:
            why = _bound(read, known, delay_seconds)
            if why and _is_older(read, known, births, events):
                found.append(Stale(read=read, known=known, why=why))
    return [*found, *_torn(events)]


def _bound(read: Event, known: Event, delay_seconds: float) -> str:
    """Say why a read may not be older than an event; empty if it may."""
    if known.ended > read.began:
        return ""
    if known.is_read:
        return "it went back" if known.process == read.process else ""
    if read.kind is Kind.READ_REDIS:
        return "it asked Redis"
    if known.process == read.process:
        return "its process had acknowledged it"
    return "the delay was over" if known.ended + delay_seconds <= read.began else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """When a generation came to be: not before, and not after."""

    earliest: float
    latest: float


def _births(events: Iterable[Event]) -> Mapping[str, Birth]:
    """Say of each generation between which times it was made."""
    writes = defaultdict[str, list[Event]](list)
    for event in events:
        if event.version is not None and not event.is_read:
            writes[event.version.gen].append(event)
    return {
        gen: Birth(earliest=min(it.began for it in some), latest=min(it.ended for it in some))
        for gen, some in writes.items()
    }


def _is_older(
    read: Event, known: Event, births: Mapping[str, Birth], events: Sequence[Event]
) -> bool:
    """Whether what a read saw was certainly gone when what is known was there."""
    if read.version is None:
        return known.version is not None and not any(
            _may_hide(each, known, read) for each in events
        )
    born = births.get(read.version.gen)
    if born is None:
        return True  # nobody has written it
    if known.version is not None and known.version.gen not in births:
        return False  # a read of what nobody has written is refused itself
    if known.version is None:
        return not known.is_read and born.latest < known.began
    if known.version.gen == read.version.gen:
        return read.version.rev < known.version.rev
    # Of two generations one is older; what a read saw may itself be older than its time.
    known_since = births[known.version.gen].earliest if known.is_read else known.began
    return born.latest < known_since


def _may_hide(delete: Event, known: Event, read: Event) -> bool:
    """Whether a deletion may lie between what is known and a read that found nothing."""
    since = known.began if not known.is_read else float("-inf")
    return delete.kind is Kind.DELETE and delete.ended >= since and delete.began <= read.ended


def _torn(events: Sequence[Event]) -> Iterator[Stale]:
    """Find reads whose contents are not those of the version that they name."""
    for read in (event for event in events if event.is_read and event.version is not None):
        writes = sorted(_writes_up_to(read, events), key=_revision)
        if read.numbers != _contents(writes):
            last = writes[-1] if writes else read
            yield Stale(read=read, known=last, why="its contents are of another version")


def _revision(event: Event) -> int:
    return event.version.rev if event.version is not None else 0


def _writes_up_to(read: Event, events: Sequence[Event]) -> Iterator[Event]:
    for event in events:
        if event.version is None or read.version is None or event.is_read:
            continue
        if event.version.gen == read.version.gen and event.version.rev <= read.version.rev:
            yield event


def _contents(writes: Iterable[Event]) -> tuple[int, ...]:
    """Return what a session holds after some writes, as a read would see it."""
    messages, value = list[int](), list[int]()
    for write in writes:
        if write.kind is Kind.APPEND:
            messages.append(write.number)
        else:
            value = [write.number] * (write.kind is Kind.SET)
    return (*messages, *value)
