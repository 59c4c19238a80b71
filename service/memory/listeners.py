"""Connections that live long or take their answer slowly: whom an emergency may hang up on."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from service.clock import Clock

SLOW_READER = "slow_reader"
PAUSE_SECONDS = 1.0
IDLE_SECONDS = 5.0
"""Who took nothing for so long is hung up on in an emergency."""

OLD_SECONDS = 30.0
"""Who takes an answer for so long is hung up on where others are refused: 16 MiB in less are a line
of 4.5 Mbit/s."""


@dataclass(slots=True, kw_only=True, eq=False)
class Listener:
    """One of them; `close` hangs up, and whoever serves it takes it off the list by that.

    `since` it began, `moved_at` it took something last: monotonic seconds.
    """

    kind: str
    since: float
    moved_at: float
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
        listener = Listener(
            kind=kind, since=since, moved_at=since, queued_bytes=queued_bytes, close=close
        )
        self._listeners[listener] = None
        return listener

    def discard(self, listener: Listener) -> None:
        """Forget one that has ended."""
        self._listeners.pop(listener, None)

    def moved(self, listener: Listener) -> None:
        """Note that one has taken what waited for it."""
        listener.moved_at = self._clock.monotonic()

    def close_idle(self) -> int:
        """Hang up on those who have taken nothing for long; return the bytes that waited."""
        until = self._clock.monotonic() - IDLE_SECONDS
        return self._close([each for each in self._listeners if each.moved_at <= until])

    def close_old_readers(self) -> None:
        """Hang up on those who take an answer for long while others find no room; once a second."""
        now = self._clock.monotonic()
        if now >= self._due:
            self._due = now + PAUSE_SECONDS
            readers = [each for each in self._listeners if each.kind == SLOW_READER]
            self._close([each for each in readers if each.since <= now - OLD_SECONDS])

    def _close(self, listeners: Sequence[Listener]) -> int:
        queued_bytes = sum(listener.queued_bytes() for listener in listeners)
        for listener in listeners:
            self.discard(listener)
            listener.close()
        self.closed += len(listeners)
        return queued_bytes
