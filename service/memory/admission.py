"""Admission: what is under way is counted before it takes memory, and refused if there is no room.

The count is in bytes of memory, not of the wire: whoever asks knows what its bytes will cost.
"""

from collections.abc import Callable
from random import randint

from service.errors import OVERLOADED, TooLarge, Unavailable
from service.memory.plan import GROWTH_SHARE

REQUEST_BYTES = 16_384
"""A request itself: its task, its scope, its place in the queue of Redis."""

SMALL_BYTES = 262_144
"""What small reads and deletions take: they are let in by the plan, whatever samples say."""

LARGE_SHARE = 0.95
"""Of the room: what all but small reads and deletions may fill."""

LEAST_SECONDS, MOST_SECONDS = 1, 5
"""Between these a Retry-After is random: who was refused together shall not come back together."""


class Hold:
    """Bytes that somebody has taken and will give back; at the latest when it is forgotten."""

    __slots__ = ("_admission", "_share", "held_bytes")

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self._share = 1.0
        self.held_bytes = 0

    def restrict(self) -> None:
        """Leave a share of the room to calls that bring no data.

        Raises Unavailable in the emergency tier, or if no more than that share is left.
        """
        self._share = GROWTH_SHARE
        self._admission.check_growth(self.held_bytes)

    def grow(self, count: int) -> None:
        """Take so many bytes more.

        Raises Unavailable if there is no room for them now, TooLarge if there never is.
        """
        self._admission.take(count, self._share, self.held_bytes)
        self.held_bytes += count

    def check(self, count: int) -> None:
        """Raise what `grow` would, and take nothing: it will come bit by bit."""
        self._admission.check(count, self._share, self.held_bytes)

    def add(self, count: int) -> None:
        """Take so many bytes more that are there already: what was done is answered."""
        self._admission.add(count)
        self.held_bytes += count

    def shrink(self, count: int) -> None:
        """Give so many bytes back."""
        self._admission.held_bytes -= count
        self.held_bytes -= count

    def refusal(self) -> Unavailable:
        """Return, and count, what to raise where there is no room."""
        return self._admission.refusal()

    def release(self) -> None:
        """Give all bytes back; doing it again changes nothing."""
        self.shrink(self.held_bytes)

    def __del__(self) -> None:
        """Give back what lived as long as this: a view that was read by parts."""
        if self.held_bytes:
            self.release()


class Admission:
    """The room for all that is under way."""

    def __init__(
        self,
        limit_bytes: int,
        *,
        is_open: bool = False,
        make_room: Callable[[], object] = lambda: None,
    ) -> None:
        """Let `limit_bytes` be held at the same time; `is_open` = all is let in, and counted.

        `make_room` is called when somebody is refused, for those who come again.
        """
        self.limit_bytes = limit_bytes
        self._make_room = make_room
        self._is_open = is_open
        self._room_bytes = limit_bytes
        self._easy_bytes = GROWTH_SHARE * limit_bytes  # below that there is room for every call
        self._is_shedding = False
        self.held_bytes = self.peak_bytes = self.refused = 0

    def begin(self) -> Hold:
        """Return a hold of nothing."""
        return Hold(self)

    def observe(self, headroom_bytes: int, *, is_shedding: bool) -> None:
        """Hear of a sample: so many bytes are left below the emergency mark now.

        What the allocator keeps is in use, too, but it will be used again: it takes no room as long
        as the mark is far.
        """
        self._room_bytes = min(self.limit_bytes, self.held_bytes + max(0, headroom_bytes))
        self._easy_bytes = GROWTH_SHARE * self._room_bytes
        self._is_shedding = is_shedding

    def check_growth(self, own_bytes: int = 0) -> None:
        """Raise Unavailable unless one who holds so much may bring more data now."""
        is_full = self.held_bytes - own_bytes > self._room_bytes * GROWTH_SHARE
        if (self._is_shedding or is_full) and not self._is_open:
            raise self.refusal()

    def take(self, count: int, share: float, own_bytes: int = 0) -> None:
        """Count bytes for one who holds `own_bytes`. Raises TooLarge if they never fit."""
        if self.held_bytes + count > self._easy_bytes:
            self.check(count, share, own_bytes)
        self.add(count)

    def check(self, count: int, share: float, own_bytes: int = 0) -> None:
        """Raise Unavailable if there is no room now, TooLarge if there never is."""
        is_small = count <= SMALL_BYTES and share == 1
        share = share if is_small else min(share, LARGE_SHARE)
        room_bytes = (self.limit_bytes if is_small else self._room_bytes) * share
        if self.held_bytes + count > room_bytes and not self._is_open:
            most_bytes = int(self.limit_bytes * share)
            will_fit = own_bytes + count <= most_bytes
            raise self.refusal() if will_fit else _never(most_bytes)

    def add(self, count: int) -> None:
        """Count bytes that are there already."""
        self.held_bytes += count
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)

    def refusal(self) -> Unavailable:
        """Return, and count, what to raise where there is no room."""
        self.refused += 1
        self._make_room()
        seconds = randint(LEAST_SECONDS, MOST_SECONDS)  # noqa: S311 # it spreads, it hides nothing
        words = "The process has no memory for this now: send it again later."
        return Unavailable(words, code=OVERLOADED, retry_after_seconds=seconds)


def _never(most_bytes: int) -> TooLarge:
    words = f"It would take more than the {most_bytes} bytes of memory that one call may have here."
    return TooLarge(f"{words} Send it in parts, or use a larger dyno.", limit=most_bytes)
