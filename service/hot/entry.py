"""One session in the hot tier: what is known of it at one revision. Immutable.

An entry answers a reading completely or not at all; it never says "absent" without knowing it.
"""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from service.chunks import Sealing
from service.codec import NUMBER_BYTES, pack_number, unpack_number, unpack_value, value_bytes
from service.hot.packed_log import Found, PackedLog
from service.hot.packed_map import MOST_BYTES, Known, PackedMap
from service.lines import Lines
from service.model import Page, Reading, Session, StateKey, StatePart, StoredValue, View, Window
from service.writes import Append, Appended, Removed, StateDeleted, StateWrite, Written

OVERHEAD_BYTES = 1_020
"""Objects of an entry beside its payload; tests compare it with the RSS of many."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """What is known of a session. Redis's clock = `redis_offset_ms` + the monotonic clock."""

    session: Session
    verified_at: float
    redis_offset_ms: float
    first_seq: int | None = None
    last_seq: int | None = None
    log: PackedLog = PackedLog()
    state: PackedMap = PackedMap()

    @classmethod
    def of(cls, session: Session, redis_now_ms: int, now: float) -> "Entry":
        """Return an entry that knows the session alone; `now` in seconds, monotonic."""
        offset = redis_now_ms - now * 1000
        is_new = session.state_key_count == 0
        return cls(
            session=session,
            verified_at=now,
            redis_offset_ms=offset,
            state=PackedMap(is_complete=is_new),
        )

    @property
    def weight(self) -> int:
        """Bytes that the budget is charged with."""
        return OVERHEAD_BYTES + self.log.weight + self.state.weight

    def redis_ms(self, now: float) -> float:
        """Return Redis's time at a moment of the monotonic clock."""
        return self.redis_offset_ms + now * 1000

    def has_expired(self, now: float) -> bool:
        """Whether the session's expiry has passed on Redis's clock."""
        ends = self.session.expires_at_ms
        return ends is not None and ends <= self.redis_ms(now)

    def view(self, reading: Reading, now: float) -> View | None:
        """Answer a reading, or None if not all of it is known."""
        page = self._page(reading.window) if reading.window else None
        known = self._known(reading)
        if known is None or (reading.window and page is None):
            return None
        is_listing = reading.state is StatePart.NAMES
        if not is_listing and sum(map(_bytes_in, known.values())) > MOST_BYTES:
            return None  # Redis is asked, and judges it
        return View(
            session=self.session,
            now_ms=int(self.redis_ms(now)),
            page=page,
            names=_names(known) if is_listing else {},
            values={} if is_listing else _values(known),
        ).without_expired(reading.state)

    def verified(self, session: Session, redis_now_ms: int, now: float) -> "Entry":
        """Return the same content under what Redis says of the session now."""
        fresh = replace(Entry.of(session, redis_now_ms, now), log=self.log, state=self.state)
        is_trimmed = session.message_count != self.session.message_count
        if is_trimmed:
            return replace(fresh, log=PackedLog())
        return replace(fresh, first_seq=self.first_seq, last_seq=self.last_seq)

    def filled(self, reading: Reading, view: View) -> "Entry":
        """Return this entry with what a reading of the same revision has brought."""
        entry = self
        page, window = view.page, reading.window
        if page is not None and window is not None:
            entry = replace(entry, first_seq=page.first_seq, last_seq=page.last_seq)
            if _is_newest(page, window) and page.count > self.log.count:
                entry = replace(entry, log=PackedLog.of(view.elements, page.lines))
        if reading.state not in {StatePart.ALL, StatePart.SOME}:
            return entry
        base = PackedMap(is_complete=True) if reading.state is StatePart.ALL else entry.state
        known = {
            key.encode(): _with_expiry(view.packed[key], value.expires_at_ms) if value else None
            for key, value in view.values.items()
        }
        return replace(entry, state=_bounded(base.updated(known)))

    def appended(self, append: Append, appended: Appended, now: float) -> "Entry":
        """Return this entry after an append that Redis acknowledged."""
        texts = append.messages
        if appended.duplicates:
            skipped = set(appended.duplicates)
            texts = tuple(text for i, text in enumerate(texts) if i not in skipped)
        return Entry(
            session=appended.session,
            verified_at=now,
            redis_offset_ms=appended.now_ms - now * 1000,
            log=self.log.appended(appended.first_seq, appended.at_ms, texts),
            state=self.state,
            first_seq=appended.first_seq_held,
            last_seq=appended.last_seq_held,
        )

    def replaced(self, append: Append, appended: Appended, now: float) -> "Entry":
        """Return this entry after other messages were put in the place of all."""
        return replace(self, log=PackedLog()).appended(append, appended, now)

    def removed(self, removed: Removed, now: float) -> "Entry":
        """Return this entry after messages were removed: which are left is read anew."""
        fresh = replace(Entry.of(removed.session, removed.now_ms, now), state=self.state)
        return replace(fresh, first_seq=removed.first_seq, last_seq=removed.last_seq)

    def state_written(
        self,
        write: StateWrite,
        merged: Mapping[StateKey, StoredValue],
        written: Written,
        now: float,
    ) -> "Entry":
        """Return this entry after a state write that Redis acknowledged."""
        ends = None if write.key_ttl_ms is None else written.now_ms + write.key_ttl_ms
        expiries = {key: stored.expires_at_ms for key, stored in merged.items()}
        changes: dict[bytes, bytes | None] = {
            key.encode(): _with_expiry(value, expiries.get(key, ends))
            for key, value in written.packed.items()
        }
        changes |= dict.fromkeys((key.encode() for key in write.deletes), None)
        fresh = self.verified(written.session, written.now_ms, now)
        return replace(fresh, state=_bounded(self.state.updated(changes)))

    def state_deleted(self, prefix: str, deleted: StateDeleted, now: float) -> "Entry":
        """Return this entry after all state keys with a prefix were deleted."""
        fresh = self.verified(deleted.session, deleted.now_ms, now)
        return replace(fresh, state=self.state.without(prefix.encode()))

    def opened(self, lines: Lines) -> "Entry":
        """Return this entry with lines that a view of it has rendered."""
        return replace(self, log=replace(self.log, lines=lines).bounded())

    def closed(self) -> "Entry":
        """Return this entry with nothing rendered that is sealed."""
        return replace(self, log=self.log.closed())

    def shortened(self) -> "Entry":
        """Return this entry with its newest messages alone, none of them rendered."""
        log = self.log.shortened()
        return self if log is self.log else replace(self, log=log)

    def sealed_by(self, sealing: Sealing) -> "Entry":
        """Return this entry after Redis has taken a chunk that was made of it."""
        return replace(self, log=self.log.sealed_by(sealing))

    def _page(self, window: Window) -> Page | None:
        found = self._find(window)
        if found is None:
            return None
        return Page(
            lines=found.log.lines,
            span=found.span,
            first_seq=self.first_seq,
            last_seq=self.last_seq,
        )

    def _find(self, window: Window) -> Found | None:
        count = self.session.message_count
        # Which message a digest means, and what is left after a removal, is known to Redis alone.
        if window.digest or (count and self.first_seq is None):
            return None
        return self.log.find(window, self.first_seq or 1, count)

    def _known(self, reading: Reading) -> Known | None:
        """Return what is asked for as it is held, None if not all of it is."""
        if reading.state is StatePart.NONE:
            return {}
        is_some = reading.state is StatePart.SOME
        keys = tuple(key.encode() for key in reading.keys)
        return self.state.get(keys) if is_some else self.state.all()


def _is_newest(page: Page, window: Window) -> bool:
    """Whether a page has all that is behind its first message."""
    return page.count > 0 and page.next_seq is None and not page.is_cut and not window.max_bytes


def _with_expiry(packed: bytes, expires_at_ms: int | None) -> bytes:
    """Return a value of Redis behind its expiry (0 = none), as it is held."""
    return pack_number(expires_at_ms or 0) + packed


def _bytes_in(held: bytes | None) -> int:
    return 0 if held is None else value_bytes(held[NUMBER_BYTES:])


def _values(known: Known) -> dict[StateKey, StoredValue | None]:
    return {
        StateKey(key.decode()): _unpacked(held) if held else None for key, held in known.items()
    }


def _unpacked(held: bytes) -> StoredValue:
    return unpack_value(held[NUMBER_BYTES:], unpack_number(held) or None)


def _names(known: Known) -> dict[StateKey, int | None]:
    return {
        StateKey(key.decode()): unpack_number(held) or None for key, held in known.items() if held
    }


def _bounded(state: PackedMap) -> PackedMap:
    """Forget a state that would be too much for one session."""
    return state if state.weight <= MOST_BYTES else PackedMap()
