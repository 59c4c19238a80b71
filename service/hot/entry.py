"""One session in the hot tier: what is known of it at one revision. Immutable.

An entry answers a reading completely or not at all; it never says "absent" without knowing it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from service.codec import add_revision, pack_message, pack_value, unpack_message, unpack_value
from service.hot.packed_log import PackedLog
from service.hot.packed_map import MOST_BYTES, PackedMap
from service.model import (
    Append,
    Appended,
    Message,
    Page,
    Reading,
    Session,
    StateKey,
    StatePart,
    StateWrite,
    StoredValue,
    View,
    Window,
    Written,
)

OVERHEAD_BYTES = 1_100
"""Objects of an entry beside its payload; tests compare it with the RSS of many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is known of a session. Redis's clock = `redis_offset_ms` + the monotonic clock."""

    session: Session
    verified_at: float
    redis_offset_ms: float
    first_seq: int | None = None
    last_seq: int | None = None
    log: PackedLog = field(default_factory=PackedLog)
    state: PackedMap = field(default_factory=PackedMap)

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
        values = self._values(reading)
        if values is None or (reading.window and page is None):
            return None
        return View(
            session=self.session,
            now_ms=int(self.redis_ms(now)),
            page=page,
            names=tuple(values) if reading.state is StatePart.NAMES else (),
            values={} if reading.state is StatePart.NAMES else values,
        )

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
        page = view.page
        if page is not None:
            entry = replace(entry, first_seq=page.first_seq, last_seq=page.last_seq)
        if page is not None and not page.has_newer and len(page.messages) > self.log.count:
            log = PackedLog().extended(map(pack_message, page.messages), len(page.messages))
            entry = replace(entry, log=log)
        if reading.state not in {StatePart.ALL, StatePart.SOME}:
            return entry
        base = PackedMap(is_complete=True) if reading.state is StatePart.ALL else entry.state
        known = {key.encode(): _stored(value) for key, value in view.values.items()}
        return replace(entry, state=_bounded(base.updated(known)))

    def appended(self, append: Append, appended: Appended, now: float) -> "Entry":
        """Return this entry after an append that Redis acknowledged."""
        skipped = set(appended.duplicates)
        texts = [text for i, text in enumerate(append.messages) if i not in skipped]
        seqs = range(appended.first_seq, appended.last_seq + 1)
        elements = (
            pack_message(Message(seq, appended.at_ms, text))
            for seq, text in zip(seqs, texts, strict=True)
        )
        log = self.log.extended(elements, appended.session.message_count)
        return replace(
            Entry.of(appended.session, appended.now_ms, now),
            log=log,
            state=self.state,
            first_seq=appended.first_seq_held,
            last_seq=appended.last_seq,
        )

    def state_written(self, write: StateWrite, written: Written, now: float) -> "Entry":
        """Return this entry after a state write that Redis acknowledged."""
        if written.session is None:
            return self
        rev = written.session.etag.rev
        changes: dict[bytes, bytes | None] = {
            key.encode(): add_revision(rev, pack_value(value)) for key, value in write.sets.items()
        }
        changes |= dict.fromkeys((key.encode() for key in write.deletes), None)
        fresh = self.verified(written.session, written.now_ms, now)
        return replace(fresh, state=_bounded(self.state.updated(changes)))

    def _page(self, window: Window) -> Page | None:
        is_open = window.after is window.before is window.since_ms is None
        total = self.session.message_count
        wanted = min(window.limit, total) if is_open and window.newest else total
        held = [unpack_message(element) for element in self.log.newest(wanted)]
        start = _first_within(window, held)
        reaches_bound = len(held) == total or start > 0
        end = _end_within(window, held)
        if window.newest:
            reaches_bound = reaches_bound or end - start >= window.limit
            start = max(start, end - window.limit)
        else:
            end = min(end, start + window.limit)
        if not reaches_bound or (total and self.last_seq is None):
            return None
        messages = tuple(held[start:end])
        return Page(
            messages=messages,
            first_seq=self.first_seq,
            last_seq=self.last_seq,
            has_older=bool(messages) and total - len(held) + start > 0,
            has_newer=bool(messages) and end < len(held),
        )

    def _values(self, reading: Reading) -> Mapping[StateKey, StoredValue | None] | None:
        if reading.state is StatePart.NONE:
            return {}
        is_some = reading.state is StatePart.SOME
        keys = tuple(key.encode() for key in reading.keys)
        known = self.state.get(keys) if is_some else self.state.all()
        if known is None:
            return None
        return {
            StateKey(key.decode()): None if value is None else unpack_value(value)
            for key, value in known.items()
        }


def _first_within(window: Window, held: list[Message]) -> int:
    """Return the index of the first message that the lower bounds let in."""
    for index, message in enumerate(held):
        is_after = window.after is None or message.seq > window.after
        if is_after and (window.since_ms is None or message.at_ms >= window.since_ms):
            return index
    return len(held)


def _end_within(window: Window, held: list[Message]) -> int:
    """Return the index behind the last message that the upper bound lets in."""
    if window.before is None:
        return len(held)
    return sum(message.seq < window.before for message in held)


def _stored(value: StoredValue | None) -> bytes | None:
    return None if value is None else add_revision(value.rev, pack_value(value.value))


def _bounded(state: PackedMap) -> PackedMap:
    """Forget a state that would be too much for one session."""
    return state if state.weight <= MOST_BYTES else PackedMap()
