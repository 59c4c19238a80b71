"""Connections that live long or take their answer slowly: whom an emergency may hang up on."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.clock import Clock

SLOW_READER = "slow_reader"
PAUSE_SECONDS = 1.0
OLD_SECONDS = 5.0
"""Who has been a listener for longer has nothing urgent to hear, or cannot keep up."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listener:
    """One of them; `close` hangs up, and whoever serves it takes it off the list by that."""

    kind: str
    since: float
    queued_bytes: Callable[[], int]
    close: Callable[[], None]


class Listeners:
    """All that there are now."""

    def __init__(self, clock: Clock) -> None:
        """Begin with none."""
        self._clock = clock
        self._listeners: dict[Listener, None] = {}
        self._due = 0.0
        self.closed = 0

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def kinds(self) -> Mapping[str, int]:
        """How many there are of each kind."""
        return Counter(listener.kind for listener in self._listeners)

    @property
    def oldest_seconds(self) -> float:
        """Seconds since the oldest began; 0 without any."""
        oldest = next(iter(self._listeners), None)
        return 0.0 if oldest is None else self._clock.monotonic() - oldest.since

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be taken by all of them together."""
        return sum(listener.queued_bytes() for listener in self._listeners)

    def add(
        self, kind: str, *, close: Callable[[], None], queued_bytes: Callable[[], int] = lambda: 0
    ) -> Listener:
        """Note one that begins now."""
        since = self._clock.monotonic()
        listener = Listener(kind=kind, since=since, queued_bytes=queued_bytes, close=close)
        self._listeners[listener] = None
        return listener

    def discard(self, listener: Listener) -> None:
        """Forget one that has ended."""
        self._listeners.pop(listener, None)

    def close_old(self, kind: str | None = None) -> int:
        """Hang up on those that are old, of one kind or all; return the bytes that waited."""
        until = self._clock.monotonic() - OLD_SECONDS
        old = [
            listener
            for listener in self._listeners
            if listener.since <= until and kind in {None, listener.kind}
        ]
        queued_bytes = sum(listener.queued_bytes() for listener in old)
        for listener in old:
            self.discard(listener)
            listener.close()
        self.closed += len(old)
        return queued_bytes

    def close_old_readers(self) -> None:
        """Hang up on those who take answers slowly while others find no room; once a second."""
        now = self._clock.monotonic()
        if now >= self._due:
            self._due = now + PAUSE_SECONDS
            self.close_old(SLOW_READER)
