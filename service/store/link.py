"""The way to Redis: few connections, one deadline a call, retries of what may be repeated."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, ReadOnlyError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from service.errors import Outcome, Unavailable
from service.store.channel import CALL_SECONDS, Call, Channel
from service.store.failures import Busy, RedisFailure
from service.store.packing import Word, pack
from service.store.scripts import Script
from service.store.target import RedisTarget
from service.store.topology import topology_of
from service.store.tracking import OnInvalidated, Tracking

RETRY_SECONDS = 1.0

LARGE_BYTES = 131_072
"""A call from here on goes its own way: what is short must not wait until it is through."""

Argument = Word
Reply = list[Any]
"""A reply of Redis: nested lists of bytes, int and None, checked where it is read."""


class Link:
    """Runs commands and scripts on one channel, and on a second one those that are large."""

    def __init__(self, target: RedisTarget, on_invalidated: OnInvalidated | None = None) -> None:
        """Connect nothing yet; a URL that cannot be read is told at each call.

        `on_invalidated` is told which keys change in Redis, by whomever, while `is_tracking`.
        """
        self._topology = topology_of(target)
        self._may_move = self._topology is not None and self._topology.may_move
        self._has_two_lanes = target.max_connections > 1
        self._channels: dict[int, Channel] = {}
        self._tracking = Tracking(on_invalidated) if on_invalidated else None
        self.is_answering = False

    @property
    def is_tls_verified(self) -> bool | None:
        """Whether the server's certificate is checked; None without TLS."""
        return self._topology.is_tls_verified if self._topology else None

    @property
    def is_tracking(self) -> bool:
        """Whether `on_invalidated` hears of every change, up to a delay of TRUST_SECONDS."""
        return self._tracking is not None and self._tracking.is_on

    async def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[Argument],
        *,
        is_large: bool = False,
    ) -> Reply:
        """Run a script by its SHA-1, by its text if the server does not know it.

        `is_large` is for those who know that the reply will be. Raises ServiceError: Unavailable
        or StoreFull.
        """
        by_sha = pack((b"EVALSHA", script.sha, len(keys), *keys, *args))
        reply = await self._complete(
            by_sha,
            by_text=lambda: pack((b"EVAL", script.source, len(keys), *keys, *args)),
            is_repeatable=not script.writes,
            is_large=is_large,
        )
        if not isinstance(reply, list) or not reply:
            raise Unavailable("What answers is no Redis.", outcome=Outcome.UNKNOWN)
        return reply

    async def command(self, *args: Argument) -> object:
        """Run one plain command that may be repeated. Raises ServiceError."""
        return await self._complete(pack(args))

    async def aclose(self) -> None:
        """Close all connections; calls that wait have failed."""
        while self._channels:
            await self._channels.popitem()[1].aclose()

    async def _complete(
        self,
        packed: Sequence[bytes],
        *,
        by_text: Callable[[], Sequence[bytes]] | None = None,
        is_repeatable: bool = True,
        is_large: bool = False,
    ) -> object:
        was_answering = self.is_answering
        call = self._send(packed, is_repeatable=is_repeatable, is_large=is_large)
        try:
            reply = await call.reply
        except RedisFailure:
            # While Redis is known to be away nobody waits for more than one try.
            seconds = RETRY_SECONDS if was_answering else 0
            try:
                reply = await self._recover(call, by_text, seconds, is_large=is_large)
            except RedisFailure as failure:
                self._note(failure)
                if isinstance(failure.__cause__, ReadOnlyError) and self._may_move:
                    await self.aclose()  # the next call asks where the primary is now
                raise failure.to_service_error() from None
        self.is_answering = True
        return reply

    async def _recover(
        self,
        first: Call,
        by_text: Callable[[], Sequence[bytes]] | None,
        seconds: float,
        *,
        is_large: bool,
    ) -> object:
        """Come to a reply after a first try that has failed, by `first`'s deadline."""

        def send(packed: Sequence[bytes]) -> Call:
            return self._send(
                packed,
                is_repeatable=first.is_repeatable,
                is_large=is_large,
                deadline=first.deadline,
            )

        async for attempt in _attempts(first.deadline - CALL_SECONDS + seconds):
            with attempt:
                call = first if attempt.retry_state.attempt_number == 1 else send(first.packed)
                try:
                    return await call.reply
                except RedisFailure as failure:
                    if by_text is None or not isinstance(failure.__cause__, NoScriptError):
                        raise
                return await send(by_text()).reply
        raise AssertionError  # pragma: no cover - tenacity returns or raises

    def _send(
        self,
        packed: Sequence[bytes],
        *,
        is_repeatable: bool,
        is_large: bool,
        deadline: float | None = None,
    ) -> Call:
        loop = asyncio.get_running_loop()
        deadline = deadline or loop.time() + CALL_SECONDS
        call = Call(packed, is_repeatable, deadline, loop.create_future())
        channel = self._channel(is_large=is_large or sum(map(len, packed)) >= LARGE_BYTES)
        if channel is None:
            call.reply.set_exception(_nowhere())
        else:
            channel.send(call)
        return call

    def _channel(self, *, is_large: bool) -> Channel | None:
        """Return the channel of a lane; one that is lost gives way to a new one."""
        lane = int(is_large and self._has_two_lanes)
        channel = self._channels.get(lane)
        if (channel is None or channel.is_lost) and self._topology is not None:
            channel = Channel(self._topology, None if lane else self._tracking)
            self._channels[lane] = channel
        return channel

    def _note(self, failure: RedisFailure) -> None:
        """Tell from a failure whether Redis answers."""
        if isinstance(failure.__cause__, Busy):
            return  # waiting for our own calls says nothing of Redis
        is_shut_out = isinstance(failure.__cause__, AuthenticationError | BusyLoadingError)
        self.is_answering = failure.was_refused and not is_shut_out


def _attempts(until: float) -> AsyncRetrying:
    """Return a policy that goes on until a time of the loop, and tries once at least."""
    seconds = max(0.0, until - asyncio.get_running_loop().time())
    return AsyncRetrying(
        retry=retry_if_exception(_may_be_repeated),
        wait=wait_random_exponential(multiplier=0.02, max=0.25),
        stop=stop_after_delay(seconds),
        reraise=True,
    )


def _may_be_repeated(error: BaseException) -> bool:
    return isinstance(error, RedisFailure) and error.may_be_repeated


def _nowhere() -> RedisFailure:
    return RedisFailure(
        "REDIS_URL is missing or cannot be read",
        was_sent=False,
        was_refused=False,
        is_passing=False,
    )
