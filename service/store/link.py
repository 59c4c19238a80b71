"""The way to Redis: few connections, one deadline a call, retries of what may be repeated."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, ReadOnlyError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from service.errors import Outcome, ServiceError, Unavailable
from service.store.channel import CALL_SECONDS, Call, Channel
from service.store.cluster import ANYWHERE, Aim, Shard
from service.store.commands import Word, pack
from service.store.failures import Busy, RedisFailure
from service.store.scripts import Script
from service.store.shards import Shards, again
from service.store.target import RedisTarget
from service.store.topology import Guard, Seeds, Topology, topology_of, unguarded
from service.store.tracking import OnInvalidated, Tracking

RETRY_SECONDS = 1.0

MOST_REPAIRS = 5
"""Of one call: its script made known, its slot found, followed when it moves."""

LARGE_BYTES = 131_072
"""A call from here on goes its own way: what is short must not wait until it is through."""

Argument = Word
Reply = list[Any]
"""A reply of Redis: nested lists of bytes, int and None, checked where it is read."""


class Link:
    """Runs commands and scripts on one channel, and on a second one those that are large.

    In a cluster `Shards` has such channels to each primary.
    """

    def __init__(
        self,
        target: RedisTarget,
        on_invalidated: OnInvalidated | None = None,
        guard: Guard = unguarded,
    ) -> None:
        """Connect nothing yet; a URL that cannot be read is told at each call.

        `on_invalidated` is told which keys change in Redis, by whomever, while `is_tracking`.
        `guard` says when a connection may be used.
        """
        topology = topology_of(target)
        self._shards: Shards | None = None
        self._topology: Topology | None = None
        self.is_tls_verified: bool | None = None
        """Whether the server's certificate is checked; None without TLS."""
        if isinstance(topology, Seeds):
            self._shards = Shards(topology, target.max_connections, on_invalidated, guard)
            self.is_tls_verified = topology.like.is_tls_verified
        elif topology is not None:
            self._topology = guard(topology, None)
            self.is_tls_verified = topology.is_tls_verified
        self._has_two_lanes = target.max_connections > 1
        self._channels: dict[int, Channel] = {}
        self._tracking = Tracking(on_invalidated) if on_invalidated else None
        self.is_answering = False

    @property
    def is_tracking(self) -> bool:
        """Whether `on_invalidated` hears of every change, up to a delay of TRUST_SECONDS."""
        if self._shards is not None:
            return self._shards.is_tracking
        return self._tracking is not None and self._tracking.is_on

    @property
    def is_cluster(self) -> bool:
        """Whether a call has to keep to one slot."""
        return self._shards is not None

    async def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[Argument],
        *,
        is_large: bool | None = None,
    ) -> Reply:
        """Run a script by its SHA-1, by its text if the server does not know it.

        `is_large` is for those who know that the reply will be; False = not even if the call is:
        it leaves in its order. Raises ServiceError: Unavailable
        or StoreFull.
        """
        by_sha = pack((b"EVALSHA", script.sha, len(keys), *keys, *args))
        reply = await self._complete(
            by_sha,
            by_text=lambda: pack((b"EVAL", script.source, len(keys), *keys, *args)),
            is_repeatable=not script.writes,
            is_large=is_large,
            aim=keys[0] if keys else ANYWHERE,
        )
        if not isinstance(reply, list) or not reply:
            raise Unavailable("What answers is no Redis.", outcome=Outcome.UNKNOWN)
        return reply

    async def command(
        self, *args: Argument, aim: Aim = ANYWHERE, is_large: bool | None = None
    ) -> object:
        """Run one plain command that may be repeated, where its key is. Raises ServiceError."""
        return await self._complete(pack(args), aim=aim, is_large=is_large)

    async def shards(self) -> Sequence[Shard]:
        """Return all primaries, in the order of their lowest slots. Raises ServiceError."""
        if self._shards is None:
            return (Shard(),)
        if not self._shards.all:
            await self.command("PING")  # the first call of all learns them, or says why it cannot
        return self._shards.all

    async def everywhere(self, *args: Argument) -> list[object]:
        """Run a command on all primaries; return what those say that answer.

        Raises ServiceError if none does.
        """
        if self._shards is None:
            return [await self.command(*args)]
        await self._shards.learn()
        aims: list[Aim] = [shard.address or ANYWHERE for shard in self._shards.all] or [ANYWHERE]
        calls = [self.command(*args, aim=aim) for aim in aims]
        replies = await asyncio.gather(*calls, return_exceptions=True)
        answers = [reply for reply in replies if not isinstance(reply, BaseException)]
        if not answers:
            raise cast("ServiceError", replies[0])
        self.is_answering = True
        return answers

    async def drop_open(self) -> None:
        """Close the connections that are open, but none that is about to be; calls have failed."""
        channels = self._shards.channels if self._shards else self._channels.values()
        for channel in [each for each in channels if each.is_open]:
            await channel.aclose()

    async def aclose(self) -> None:
        """Close all connections; calls that wait have failed."""
        if self._shards is not None:
            await self._shards.aclose()
        while self._channels:
            await self._channels.popitem()[1].aclose()

    async def _complete(
        self,
        packed: Sequence[bytes],
        *,
        aim: Aim,
        by_text: Callable[[], Sequence[bytes]] | None = None,
        is_repeatable: bool = True,
        is_large: bool | None = None,
    ) -> object:
        was_answering = self.is_answering
        loop = asyncio.get_running_loop()
        if is_large is None:
            is_large = sum(map(len, packed)) >= LARGE_BYTES
        deadline = loop.time() + CALL_SECONDS
        call = Call(packed, is_repeatable, deadline, loop.create_future(), is_large, aim)
        self._send(call)
        try:
            reply = await call.reply
        except RedisFailure:
            # While Redis is known to be away nobody waits for more than one try.
            seconds = RETRY_SECONDS if was_answering else 0
            try:
                reply = await self._recover(call, by_text, seconds)
            except RedisFailure as failure:
                self._note(failure)
                if (
                    isinstance(failure.__cause__, ReadOnlyError)
                    and self._topology
                    and self._topology.may_move
                ):
                    await self.aclose()  # the next call asks where the primary is now
                raise failure.to_service_error() from None
        self.is_answering = True
        return reply

    async def _recover(
        self, first: Call, by_text: Callable[[], Sequence[bytes]] | None, seconds: float
    ) -> object:
        """Come to a reply after a first try that has failed, by `first`'s deadline."""
        async for attempt in _attempts(first.deadline - CALL_SECONDS + seconds):
            with attempt:
                is_first = attempt.retry_state.attempt_number == 1
                return await self._settle(first if is_first else self._send(again(first)), by_text)
        raise AssertionError  # pragma: no cover - tenacity returns or raises

    async def _settle(self, call: Call, by_text: Callable[[], Sequence[bytes]] | None) -> object:
        """Return the reply of a call, or of what it has to be instead, without a pause."""
        for _ in range(MOST_REPAIRS):
            try:
                return await call.reply
            except RedisFailure as failure:
                repaired = await self._repair(call, failure, by_text)
                if repaired is None:
                    raise
                # Its frames are in a cycle with it: what they hold would live until a collection.
                failure.__traceback__ = None
                call = self._send(repaired)
        return await call.reply

    async def _repair(
        self, call: Call, failure: RedisFailure, by_text: Callable[[], Sequence[bytes]] | None
    ) -> Call | None:
        if by_text is not None and isinstance(failure.__cause__, NoScriptError):
            return again(call, packed=by_text())
        return await self._shards.next_call(call, failure) if self._shards else None

    def _send(self, call: Call) -> Call:
        if self._shards is not None:
            self._shards.send(call)
        elif (channel := self._channel(is_large=call.is_large)) is not None:
            channel.send(call)
        else:
            call.reply.set_exception(_nowhere())
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
