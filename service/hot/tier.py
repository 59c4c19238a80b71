"""The hot tier: sessions in order of use, bounded in bytes. Pure and synchronous.

Redis first: an entry is never ahead of Redis. A fill (what a read brought) never overwrites what
a write has put meanwhile: every write spoils the fills of its session that are under way.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from service.hot.entry import Entry
from service.hot.shelf import BLOCK_BYTES, Shelf
from service.model import ETag, SessionRef
from service.vitals import HotTierStatus

OPEN_SHARE = 0.125
"""Of the budget: what is sealed, but kept rendered because it was read."""

AT_HAND_SHARE = 0.25
"""Of the budget: entries that are ready to be read; colder ones are on the shelf."""

SHORTENED_AT_ONCE = 100
"""Sessions: about a millisecond of the event loop."""


@dataclass(eq=False, slots=True)
class Fill:
    """A call that is under way; spoiled once a write of its session was acknowledged.

    `is_unsure`: meanwhile the session was changed by somebody, or nobody would have told.
    """

    is_spoiled: bool = False
    is_unsure: bool = False


class HotTier:
    """Least recently used entries leave first."""

    def __init__(
        self,
        budget_bytes: int,
        *,
        at_hand_bytes: int | None = None,
        is_told: Callable[[], bool] = lambda: False,
    ) -> None:
        """Hold at most `budget_bytes` of entries, by their weight.

        About `at_hand_bytes` of them are not on the shelf.
        `is_told` says whether every change of what is held is told now (to `invalidate`).
        """
        self.budget_bytes = budget_bytes
        self._is_told = is_told
        share_bytes = int(budget_bytes * AT_HAND_SHARE)
        self._at_hand_bytes = share_bytes if at_hand_bytes is None else at_hand_bytes
        self._entries: OrderedDict[SessionRef, Entry] = OrderedDict()
        self._shelf = Shelf()
        self._fills: dict[SessionRef, list[Fill]] = {}
        self._verified: set[SessionRef] = set()
        self._open: OrderedDict[SessionRef, int] = OrderedDict()
        self._open_bytes = 0
        self._bytes = self._hits = self._misses = self._evicted = 0

    @property
    def status(self) -> HotTierStatus:
        """The tier in figures."""
        return HotTierStatus(
            bytes=self.held_bytes,
            budget_bytes=self.budget_bytes,
            sessions=len(self._entries) + len(self._shelf),
            hits=self._hits,
            misses=self._misses,
            evicted=self._evicted,
        )

    @property
    def held_bytes(self) -> int:
        """Bytes that are held now."""
        return self._bytes + self._shelf.bytes

    def get(self, ref: SessionRef) -> Entry | None:
        """Return an entry and make it the most recently used."""
        entry = self._entries.get(ref)
        if entry is not None:
            self._entries.move_to_end(ref)
            if ref in self._open:
                self._open.move_to_end(ref)
        elif (entry := self._shelf.peek(ref)) is not None:
            self._shelf.discard(ref)
            self._keep(ref, entry)
        return entry

    def peek(self, ref: SessionRef) -> Entry | None:
        """Return an entry that nobody uses by that."""
        return self._entries.get(ref) or self._shelf.peek(ref)

    def is_verified(self, ref: SessionRef) -> bool:
        """Whether what is held is what Redis had last, as far as its word of changes has come."""
        return ref in self._verified and self._is_told()

    def verify(self, ref: SessionRef, fill: Fill) -> None:
        """Trust what a read has just brought, or confirmed, until a change is told."""
        if (ref in self._entries or ref in self._shelf) and not (fill.is_unsure or fill.is_spoiled):
            self._verified.add(ref)

    def invalidate(self, refs: Iterable[SessionRef] | None) -> None:
        """Trust what is held of these sessions no longer (None: of all); it is not dropped."""
        if refs is None:
            self._verified.clear()
            refs = tuple(self._fills)
        for ref in refs:
            self._verified.discard(ref)
            for fill in self._fills.get(ref, ()):
                fill.is_unsure = True

    def reshape(self, ref: SessionRef, gen: str, change: Callable[[Entry], Entry]) -> None:
        """Hold the same content of a session in another form; nobody has used it by that."""
        entry = self.peek(ref)
        if entry is None or entry.session.etag.gen != gen:
            return
        if ref in self._shelf:
            self._shelf.discard(ref)
            self._bytes += entry.weight
            self._entries[ref] = entry
            self._entries.move_to_end(ref, last=False)  # still colder than all that is at hand
        self._reshape(ref, entry, change(entry))
        self._fit()

    def count(self, *, is_hit: bool) -> None:
        """Count a read that was, or was not, answered from here."""
        self._hits += is_hit
        self._misses += not is_hit

    def begin_fill(self, ref: SessionRef) -> Fill:
        """Watch for writes of a session while a read, or another write, is under way."""
        fill = Fill()
        self._fills.setdefault(ref, []).append(fill)
        return fill

    def end_fill(self, ref: SessionRef, fill: Fill) -> None:
        """Watch no longer: the read has come back, or failed."""
        fills = self._fills[ref]
        fills.remove(fill)
        if not fills:
            del self._fills[ref]

    def fill(self, ref: SessionRef, entry: Entry | None, fill: Fill) -> None:
        """Keep what a read has brought (None: the session is absent), unless a write was faster."""
        current = self.peek(ref)
        if fill.is_spoiled or (current and entry and _is_newer(current, entry)):
            return
        self._put(ref, entry)

    def wrote(self, ref: SessionRef, etag: ETag, change: Callable[[Entry], Entry]) -> None:
        """Take over a write that led to `etag`; an entry that it does not follow is dropped."""
        self._spoil(ref)
        entry = self.peek(ref)
        if entry is None:
            return
        held = entry.session.etag
        if held.gen == etag.gen and held.rev == etag.rev - 1:
            self._put(ref, change(entry))
        elif not _is_at_least(entry, etag):
            self._put(ref, None)

    def confirmed(self, ref: SessionRef, etag: ETag, renew: Callable[[Entry], Entry]) -> None:
        """Renew what is at `etag`, and drop what lags behind a write that changed nothing.

        A retry that finds its work done acknowledges a write whose own reply never came.
        """
        self._spoil(ref)
        entry = self.peek(ref)
        if entry is None:
            return
        if entry.session.etag == etag:
            self._put(ref, renew(entry))
        elif not _is_at_least(entry, etag):
            self._put(ref, None)

    def created(self, ref: SessionRef, entry: Entry, fill: Fill) -> None:
        """Keep a session that a write has made, all of it known, unless a later write was faster.

        `fill` began before the write: replies may come in another order than Redis worked in.
        """
        is_overtaken = fill.is_spoiled
        self._spoil(ref)
        current = self.peek(ref)
        if is_overtaken:
            self._put(ref, None)
        elif current is None or not _is_newer(current, entry):
            self._put(ref, entry)

    def deleted(self, ref: SessionRef) -> None:
        """Forget a session that Redis has forgotten."""
        self._spoil(ref)
        self._put(ref, None)

    def evict(self, excess_bytes: int) -> int:
        """Drop the coldest entries until that many bytes are free; Redis has them all."""
        freed = 0
        while freed < excess_bytes and (self._shelf or self._entries):
            before = self.held_bytes
            refs = self._shelf.evict() if self._shelf else [next(iter(self._entries))]
            for ref in refs:
                self._put(ref, None)
            self._evicted += len(refs)
            freed += before - self.held_bytes
        return freed

    def shorten(self, slice_sessions: int = SHORTENED_AT_ONCE) -> Iterator[int]:
        """Keep the newest messages alone of what is at hand; yield the bytes freed, by slices.

        Between two slices anything may happen to the tier.
        """
        refs = iter(tuple(self._entries))
        while part := tuple(islice(refs, slice_sessions)):
            before = self._bytes
            for ref in part:
                entry = self._entries.get(ref)
                if entry is not None and (shortened := entry.shortened()) is not entry:
                    self._reshape(ref, entry, shortened)
            yield before - self._bytes

    def _spoil(self, ref: SessionRef) -> None:
        for fill in self._fills.get(ref, []):
            fill.is_spoiled = True

    def _put(self, ref: SessionRef, entry: Entry | None) -> None:
        previous = self._entries.pop(ref, None)
        if previous is not None:
            self._bytes -= previous.weight
            self._open_bytes -= self._open.pop(ref, 0)
        self._shelf.discard(ref)
        self._verified.discard(ref)
        if entry is not None and entry.weight <= self.budget_bytes:
            self._keep(ref, entry)

    def _keep(self, ref: SessionRef, entry: Entry) -> None:
        self._entries[ref] = entry
        self._bytes += entry.weight
        self._note_open(ref, entry)
        self._fit()

    def _fit(self) -> None:
        """Put the coldest of what is at hand on the shelf, and drop what is too much."""
        while self._bytes > self._at_hand_bytes + BLOCK_BYTES:
            self._put_away(list(self._take_coldest()))
        self.evict(self.held_bytes - self.budget_bytes)

    def _put_away(self, entries: list[tuple[SessionRef, Entry]]) -> None:
        """Put entries on the shelf; where the system gives no memory for that, drop them."""
        try:
            self._shelf.put(entries)
        except OSError:
            self._evicted += len(entries)
            self._verified.difference_update(ref for ref, _ in entries)

    def _take_coldest(self) -> Iterator[tuple[SessionRef, Entry]]:
        """Take about a block of the coldest from what is at hand, with nothing rendered."""
        taken = 0
        while self._entries and taken < BLOCK_BYTES:
            ref, entry = self._entries.popitem(last=False)
            taken += entry.weight
            self._bytes -= entry.weight
            self._open_bytes -= self._open.pop(ref, 0)
            yield ref, entry.closed()

    def _reshape(self, ref: SessionRef, entry: Entry, changed: Entry) -> None:
        self._bytes += changed.weight - entry.weight
        self._entries[ref] = changed  # it keeps its place
        self._open_bytes -= self._open.pop(ref, 0)
        self._note_open(ref, changed)

    def _note_open(self, ref: SessionRef, entry: Entry) -> None:
        """Close the coldest of what is open beyond what it is worth."""
        weight = entry.log.lines.weight
        if not weight:
            return
        self._open[ref] = weight
        self._open_bytes += weight
        while self._open_bytes > self.budget_bytes * OPEN_SHARE and len(self._open) > 1:
            coldest = next(iter(self._open))
            closed = self._entries[coldest].closed()
            self._bytes -= self._entries[coldest].weight - closed.weight
            self._open_bytes -= self._open.pop(coldest)
            self._entries[coldest] = closed  # it keeps its place


def _is_newer(entry: Entry, other: Entry) -> bool:
    """Whether both are the same session and `entry` is at a later revision."""
    return _is_at_least(entry, other.session.etag) and entry.session.etag != other.session.etag


def _is_at_least(entry: Entry, etag: ETag) -> bool:
    """Whether an entry is of the same session as a tag and not older."""
    held = entry.session.etag
    return held.gen == etag.gen and held.rev >= etag.rev
