"""The write-behind journal: writes that were answered before Redis has them, bounded in bytes.

Those of a session leave in their order, a batch at a time; sessions do not wait for each other. A
batch keeps content and number until it is known what became of it: the script knows it again. What
Redis does not take now stays, and is tried as long as the process lives; what it will never take is
counted and dropped.
"""

import asyncio
import logging
import secrets
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from msgspec.structs import replace

from service.batching import (
    ENTRY_BYTES,
    KEY_BYTES,
    KEYED_BYTES,
    Queue,
    Write,
    pack_write,
    payload_bytes,
)
from service.clock import Clock
from service.errors import OVERLOADED, ServiceError, StoreFull, Unavailable
from service.holds import Hold
from service.model import Namespace, SessionRef
from service.writes import Idempotency

LINGER_SECONDS = 0.003
"""What comes within so long shares a call."""

AT_ONCE = 64
"""Sessions."""

PAUSE_SECONDS = 0.25
"""Between two tries of the same batch, and between any two while Redis takes none."""

PATIENCE_SECONDS = 60.0
"""Nothing more is taken when Redis has taken nothing for so long."""

SETTLE_SECONDS = 1.5
"""For which a call waits until Redis has what was written to its session before."""

LARGEST_SHARE = 0.125
"""Of the journal: what one entry may take."""

QUEUE_BYTES = 640
"""Of memory: for a session beside its entries."""

SENDING_COST = 2
"""Bytes that a byte takes while it is sent: what is unpacked, and what goes to Redis."""

Task = asyncio.Task[ServiceError | None]
"""A batch on its way; it ends with why Redis did not take it, None if it is through."""

_log = logging.getLogger("ballast.journal")


class Journal:
    """Writes that Redis does not have yet."""

    def __init__(
        self,
        write: Callable[[SessionRef, Write], Awaitable[object]],
        begin_hold: Callable[[], Hold],
        clock: Clock,
        *,
        most_bytes: int,
        most_messages: int,
    ) -> None:
        """Give batches of at most `most_messages` to `write`; 0 for `most_bytes` = switched off.

        `begin_hold` is asked for the memory of what is being written.
        """
        self._write = write
        self._begin_hold = begin_hold
        self._clock = clock
        self._most_bytes = most_bytes
        self._most_messages = most_messages
        self._key = secrets.token_bytes(KEY_BYTES)
        self._number = 0
        self._queues: dict[SessionRef, Queue] = {}
        self._ready: dict[SessionRef, None] = {}
        self._resting: deque[tuple[float, SessionRef]] = deque()
        self._tasks: dict[SessionRef, Task] = {}
        self._stuck_since: float | None = None
        self._tried_at = 0.0
        self._wake, self._progress = asyncio.Event(), asyncio.Event()
        self._told: set[str] = set()
        self._counts = Counter[str]()
        self.held_bytes = self.entries = 0

    def __contains__(self, ref: SessionRef) -> bool:
        """Whether something of a session waits, or is being written."""
        return ref in self._queues

    def has_any(self, namespace: Namespace, prefix: str) -> bool:
        """Whether something waits of sessions whose ids begin so."""
        return any(it.namespace == namespace and it.id.startswith(prefix) for it in self._queues)

    @property
    def counters(self) -> Mapping[str, int]:
        """Since the start: entries taken, written, refused by Redis; calls that wrote them."""
        names = ("journalTaken", "journalWritten", "journalRefused", "journalCalls")
        return {name: self._counts[name] for name in names}

    def fits(self, write: Write) -> bool:
        """Whether a write may wait here; one that is large would leave no room for others."""
        return payload_bytes(write) < self._most_bytes * LARGEST_SHARE

    def add(self, ref: SessionRef, write: Write) -> bool:
        """Keep a write until Redis has it; False if it repeats one that is kept already.

        Raises Unavailable if there is no room, Unprocessable if its key is that of another one.
        """
        queue = self._queues.get(ref)
        if queue is not None and queue.has(write.idempotency):
            return False
        entry = pack_write(write)
        weight = len(entry) + ENTRY_BYTES + (KEYED_BYTES if write.idempotency else 0)
        if queue is None:
            weight += QUEUE_BYTES
        self._check_room(weight)
        if queue is None:
            queue = self._queues[ref] = Queue()
            self._make_ready(ref)
        queue.add(entry, write.idempotency)
        self.entries += 1
        self.held_bytes += weight
        self._counts["journalTaken"] += 1
        return True

    async def settle(self, ref: SessionRef) -> None:
        """Return when Redis has all of a session that waits now.

        Raises Unavailable or StoreFull if it does not take it.
        """
        queue = self._queues.get(ref)
        if queue is None:
            return
        most = queue.added
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while queue.done < most:
                    if ref not in self._tasks:
                        self._start(ref, queue)
                    if (failure := await asyncio.shield(self._tasks[ref])) is not None:
                        raise _anew(failure)
        except TimeoutError:
            raise Unavailable("What was written before is still on its way to Redis.") from None

    async def flush(self, seconds: float, *, is_stubborn: bool = False) -> int:
        """Write all that waits now; return the bytes by which that has become less.

        Ends after so many seconds and, unless it `is_stubborn`, when Redis takes nothing.
        """
        before = self.held_bytes
        waiting = [(queue, queue.added) for queue in self._queues.values()]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for queue, most in waiting:
                    while queue.done < most and (is_stubborn or self._stuck_since is None):
                        self._progress.clear()
                        await self._progress.wait()
        return max(0, before - self.held_bytes)

    async def close(self, seconds: float) -> None:
        """Write what waits, for so many seconds; tell what is left after that."""
        await self.flush(seconds, is_stubborn=True)
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.entries:
            payload = sum(queue.payload_bytes for queue in self._queues.values())
            _log.error("%d journal entries (%d bytes) not written", self.entries, payload)

    async def run(self) -> None:
        """Write what waits, again and again."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_seconds()):
                    await self._wake.wait()
            await asyncio.sleep(LINGER_SECONDS)
            self._wake.clear()
            self._start_due(self._clock.monotonic())

    def _check_room(self, count: int) -> None:
        """Raise Unavailable unless so many bytes more may be kept."""
        stuck_since = self._stuck_since
        if stuck_since is not None and self._clock.monotonic() - stuck_since > PATIENCE_SECONDS:
            raise Unavailable("Redis has taken nothing for too long: nothing more is kept for it.")
        if self.held_bytes + count > self._most_bytes:
            words = "The journal is full: send it again later, or without Prefer: respond-async."
            raise Unavailable(words, code="journal_full")

    def _make_ready(self, ref: SessionRef) -> None:
        self._ready[ref] = None
        self._wake.set()

    def _pause_seconds(self) -> float | None:
        """Seconds until something is due that nobody will tell of; None = nothing will be."""
        now = self._clock.monotonic()
        if self._stuck_since is not None and self._tasks:
            return None  # what becomes of that decides
        if self._stuck_since is not None and self._ready:
            return max(0.0, self._tried_at + PAUSE_SECONDS - now)
        return max(0.0, self._resting[0][0] - now) if self._resting else None

    def _start_due(self, now: float) -> None:
        """Begin to write what is due: all, or one to see whether Redis takes it again."""
        while self._resting and self._resting[0][0] <= now:
            self._ready[self._resting.popleft()[1]] = None
        most = AT_ONCE
        if self._stuck_since is not None:
            most = 1 if now >= self._tried_at + PAUSE_SECONDS else 0
        while self._ready and len(self._tasks) < most:
            ref = next(iter(self._ready))
            queue = self._queues.get(ref)
            if queue is None or ref in self._tasks:
                del self._ready[ref]  # somebody has waited for it
            else:
                self._tried_at = now
                self._start(ref, queue)

    def _start(self, ref: SessionRef, queue: Queue) -> None:
        """Begin to write the oldest batch of a session."""
        self._ready.pop(ref, None)
        self._tasks[ref] = asyncio.create_task(self._send(ref, queue))

    async def _send(self, ref: SessionRef, queue: Queue) -> ServiceError | None:
        try:
            failure = await self._outcome(ref, queue)
        finally:
            del self._tasks[ref]
            self._progress.set()
            self._wake.set()
        if failure is not None:
            self._resting.append((self._clock.monotonic() + PAUSE_SECONDS, ref))
        elif queue.done < queue.added:
            self._make_ready(ref)
        else:
            del self._queues[ref]
            self.held_bytes -= QUEUE_BYTES
        return failure

    async def _outcome(self, ref: SessionRef, queue: Queue) -> ServiceError | None:
        """Write the oldest batch; return why Redis does not take it now, None if it is through."""
        try:
            await self._write_oldest(ref, queue)
        except (Unavailable, StoreFull) as failure:
            if not failure.is_lasting:
                if failure.code != OVERLOADED and not failure.is_alone:
                    self._stuck_since = self._stuck_since or self._clock.monotonic()
                return _anew(failure)
            self._refused(queue, failure)
        except Exception as error:  # noqa: BLE001 # counted and told: others wait behind it
            self._refused(queue, error)
        else:
            self._counts["journalWritten"] += queue.sent
        self._stuck_since = None
        self.entries -= queue.sent
        self.held_bytes -= queue.forget()
        return None

    async def _write_oldest(self, ref: SessionRef, queue: Queue) -> None:
        """Write the batch that is next, with a number of its own if its client gave no key."""
        if not queue.sent:
            self._number += 1
            queue.number = self._number
        write = queue.batch(self._most_messages)
        if write.idempotency is None:
            write = replace(write, idempotency=Idempotency(self._key, b"%d" % queue.number))
        hold = self._begin_hold()
        hold.grow(SENDING_COST * queue.sent_bytes())
        self._counts["journalCalls"] += 1
        await self._write(ref, write)

    def _refused(self, queue: Queue, error: Exception) -> None:
        """Count what Redis will never take; its client was answered already."""
        self._counts["journalRefused"] += queue.sent
        kind = error.code if isinstance(error, ServiceError) else type(error).__name__
        if kind not in self._told:
            self._told.add(kind)
            defect = None if isinstance(error, ServiceError) else error
            words = "What waited was refused for good (%s) and is lost; more of it is only counted."
            _log.error(words, kind, exc_info=defect)


def _anew(failure: ServiceError) -> ServiceError:
    """Return an error for one more caller: its frames would keep what was to be written."""
    if isinstance(failure, StoreFull):
        words = "Redis is full, and what was written to this session before waits for room."
        return StoreFull(words)
    return Unavailable(failure.detail, code=failure.code)
