"""Who waits until it has been quiet for a while, but no longer than a longer while; pure."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from itertools import takewhile
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Debounce(Generic[K]):
    """Who waits; times are seconds of any clock that never steps back."""

    def __init__(self, *, quiet_seconds: float, most_seconds: float, most_waiting: int) -> None:
        """Let who is noted wait `quiet_seconds`, noted again and again `most_seconds` in all."""
        self._quiet_seconds = quiet_seconds
        self._most_seconds = most_seconds
        self._most_waiting = most_waiting
        self._last: OrderedDict[K, float] = OrderedDict()
        self._first: OrderedDict[K, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._first)

    def __iter__(self) -> Iterator[K]:
        return iter(self._first)

    def note(self, key: K, now: float) -> bool:
        """Let one wait, from now on or anew; False if another had to be forgotten for that."""
        self._first.setdefault(key, now)
        self._last[key] = now
        self._last.move_to_end(key)
        if len(self._first) <= self._most_waiting:
            return True
        self.discard(next(iter(self._first)))
        return False

    def due(self, now: float) -> list[K]:
        """Return who need not wait any longer; they do until they are discarded or settled."""
        quiet = takewhile(lambda key: self._last[key] <= now - self._quiet_seconds, self._last)
        late = takewhile(lambda key: self._first[key] <= now - self._most_seconds, self._first)
        return list(dict.fromkeys((*quiet, *late)))

    def noted_at(self, key: K) -> float | None:
        """Return when one was noted last; None if it does not wait."""
        return self._last.get(key)

    def settle(self, key: K, noted_at: float | None, now: float) -> None:
        """Take away one that was dealt with as of `noted_at`; who was noted since waits anew."""
        if self._last.get(key) in {None, noted_at}:
            self.discard(key)
            return
        self._first[key] = now
        self._first.move_to_end(key)

    def discard(self, key: K) -> None:
        """Forget one, if it waits."""
        self._first.pop(key, None)
        self._last.pop(key, None)
