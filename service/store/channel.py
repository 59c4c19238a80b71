"""One connection to Redis, with many calls on their way at the same time."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol, cast

from hiredis import PushNotification, Reader
from redis.asyncio.connection import AbstractConnection, DefaultParser
from redis.exceptions import InvalidResponse, RedisError

from service.store.cluster import ANYWHERE, Aim
from service.store.failures import Busy, translate
from service.store.topology import Topology

CALL_SECONDS = 1.5

_NOTHING = object()


@dataclass(slots=True, eq=False)
class Call:
    """A command as Redis wants it, and the reply that will come, or a RedisFailure."""

    packed: Sequence[bytes]
    is_repeatable: bool
    deadline: float
    reply: asyncio.Future[object]
    is_large: bool = False
    aim: Aim = ANYWHERE
    was_sent: bool = False

    def answer(self, reply: object) -> None:
        """Pass on what Redis says, unless the caller is gone."""
        if isinstance(reply, Exception):
            self.fail(reply)
        elif not self.reply.done():
            self.reply.set_result(reply)

    def fail(self, error: Exception, *, is_greeting: bool = False) -> None:
        """Tell why there is no reply, unless the caller is gone."""
        if not self.reply.done():
            # A call that changes nothing, or the same thing twice, is never of unknown outcome.
            was_sent = self.was_sent and not self.is_repeatable
            failure = translate(error, was_sent=was_sent, is_greeting=is_greeting)
            self.reply.set_exception(failure)


class Listener(Protocol):
    """Who wants to hear more of a channel than replies."""

    def greeting(self, channel: "Channel") -> Sequence[Call]:
        """Return what is asked first of all on a channel that has just been opened."""

    def pushed(self, message: Sequence[object]) -> None:
        """Hear what Redis says without being asked, in the order among the replies."""

    def ended(self) -> None:
        """Hear that nothing more will come from a channel that was open."""


class Channel(asyncio.Protocol):
    """A connection from the first try to open it to its end; what comes later needs another.

    The calls of one turn of the event loop leave in one write, and are answered in their order.
    redis-py opens the connection; then this takes its socket over.
    """

    def __init__(self, topology: Topology, listener: Listener | None = None) -> None:
        """Begin to connect; calls may be sent at once, and leave when the connection is open."""
        self._loop = asyncio.get_running_loop()
        self._topology = topology
        self._listener = listener
        self._reader = Reader(
            protocolError=InvalidResponse,
            replyError=DefaultParser.parse_error,
            notEnoughData=_NOTHING,
        )
        self._transport: asyncio.Transport | None = None
        self._is_writable = False
        self._unsent: deque[Call] = deque()
        self._sent: deque[Call] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._end = self._loop.create_future()
        self.heard_at = self._loop.time()
        self.is_lost = False
        self._life = asyncio.create_task(self._live())

    def send(self, call: Call) -> None:
        """Let a call leave with the others of this turn; its reply is its own."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(call)
        if call.deadline < self._alarm_at:
            self._set_alarm(call.deadline)

    @property
    def is_open(self) -> bool:
        """Whether calls leave now; else it is being opened, or has ended."""
        return self._transport is not None and not self.is_lost

    async def aclose(self) -> None:
        """Close the connection; calls that wait have failed."""
        self._life.cancel()
        await asyncio.wait([self._life])

    def data_received(self, data: bytes) -> None:
        """Answer the calls whose replies are complete."""
        self.heard_at = self._loop.time()
        reader, sent = self._reader, self._sent
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not _NOTHING:
                if isinstance(reply, PushNotification):
                    self._push(reply)
                else:
                    sent.popleft().answer(reply)
        except (InvalidResponse, IndexError) as error:
            self._lose(error)  # no reply, or one that nobody waits for: what answers is no Redis

    def pause_writing(self) -> None:
        """Keep what comes while the socket is full: it has not left."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """Send what was kept."""
        self._is_writable = True
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all calls: the other side has closed the connection."""
        self._lose(exc or ConnectionResetError())

    async def _live(self) -> None:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                connection = await self._topology.open()
            try:
                await self._take_over(connection)
                await self._end
            finally:
                await connection.disconnect(nowait=True)
        except (RedisError, OSError) as error:
            self._lose(error)
        finally:
            self._lose(ConnectionResetError())

    async def _take_over(self, connection: AbstractConnection) -> None:
        """Take the socket from redis-py's streams, and let go what has waited for that."""
        if await connection.can_read():
            raise ConnectionResetError
        # redis-py has no public name for it. It keeps the writer, which closes what it loses.
        writer = cast("asyncio.StreamWriter", connection._writer)  # noqa: SLF001
        self._transport = cast("asyncio.Transport", writer.transport)
        self._transport.set_protocol(self)
        self.heard_at = self._loop.time()
        if self._listener is not None:
            self._unsent.extendleft(reversed(self._listener.greeting(self)))
        self.resume_writing()

    def _flush(self) -> None:
        """Write all calls that wait in one go, but for those whose callers are gone."""
        if self._transport is None or not self._is_writable or self._transport.is_closing():
            return
        calls = [call for call in self._unsent if not call.reply.done()]
        self._unsent.clear()
        if not calls:
            return
        for call in calls:
            call.was_sent = True
        self._sent.extend(calls)
        pieces = [piece for call in calls for piece in call.packed]
        if len(pieces) == len(calls):
            self._transport.write(b"".join(pieces))
        else:
            self._transport.writelines(pieces)  # nothing that is long is copied

    def _push(self, message: PushNotification) -> None:
        if self._listener is not None:
            self._listener.pushed(message)

    def _set_alarm(self, deadline: float) -> None:
        """Look at the calls again when the first of them may have run out of time."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(deadline, self._ring)
        self._alarm_at = deadline

    def _ring(self) -> None:
        """Fail the calls whose time is over, and with them a connection that has gone silent."""
        self._alarm_at = inf
        waiting = [call for call in (*self._sent, *self._unsent) if not call.reply.done()]
        late = [call for call in waiting if call.deadline <= self._loop.time()]
        if self._transport and any(self.heard_at <= call.deadline - CALL_SECONDS for call in late):
            self._lose(TimeoutError())
            return
        for call in late:
            self._run_out(call)
        if len(late) < len(waiting):
            self._set_alarm(min(call.deadline for call in waiting if not call.reply.done()))

    def _run_out(self, call: Call) -> None:
        if self._transport is None:
            call.fail(TimeoutError(), is_greeting=True)
        else:
            call.fail(TimeoutError() if call.was_sent else Busy())

    def _lose(self, error: Exception) -> None:
        """End: what has left may have been done, what has not was not."""
        if self.is_lost:
            return
        self.is_lost = True
        for call in (*self._sent, *self._unsent):
            call.fail(error, is_greeting=self._transport is None)
        self._sent.clear()
        self._unsent.clear()
        if self._transport is not None:
            self._transport.abort()  # a close would wait for a peer that may be frozen
        if not self._end.done():
            self._end.set_result(None)
        if self._transport is not None and self._listener is not None:
            self._listener.ended()
