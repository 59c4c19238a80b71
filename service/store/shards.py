"""The channels of a cluster: one to each primary, and a map of slots that is kept right."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import cast

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from service.store.channel import CALL_SECONDS, Call, Channel
from service.store.cluster import Address, Aim, Asked, Node, Shard, SlotMap, redirected, slot_map
from service.store.commands import pack
from service.store.failures import RedisFailure, Unmapped, translate
from service.store.topology import ASK_SECONDS, Guard, Seeds
from service.store.tracking import TRUST_SECONDS, OnInvalidated, Tracking

_SLOTS = pack((b"CLUSTER", b"SLOTS"))
_ASKING = pack((b"ASKING",))

_OUTDATED = (TryAgainError, ClusterDownError, ReadOnlyError, MasterDownError)
"""Answers after which another map may help."""

_Lane = tuple[Address, bool]
"""To a node, for what is large or for the rest."""


class Shards:
    """Sends each call to the primary that it is for."""

    def __init__(
        self,
        seeds: Seeds,
        max_connections: int,
        on_invalidated: OnInvalidated | None,
        guard: Guard,
    ) -> None:
        """Connect nothing yet, and know nothing but the seeds."""
        self._guard = guard
        self._seeds = seeds
        self._max_connections = max_connections
        self._tell = on_invalidated
        self._map = SlotMap()
        self._told_at = 0.0
        self._fault: Exception = Unmapped()
        self._channels: dict[_Lane, Channel] = {}
        self._trackings: dict[Address, Tracking] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._learning: asyncio.Task[None] | None = None
        self._turn = 0

    @property
    def all(self) -> Sequence[Shard]:
        """The primaries that are known, in the order of their lowest slots."""
        return self._map.shards

    @property
    def channels(self) -> Collection[Channel]:
        """All that are in use."""
        return self._channels.values()

    @property
    def is_tracking(self) -> bool:
        """Whether every primary tells its changes, and the map is not older than that trust."""
        if asyncio.get_running_loop().time() - self._told_at >= TRUST_SECONDS:
            return False
        trackings = [self._trackings.get(address) for address in self._primaries()]
        return bool(trackings) and all(each is not None and each.is_on for each in trackings)

    def send(self, call: Call) -> None:
        """Let a call leave to its aim; it fails if that is not known."""
        address = self._find(call)
        channel = self._channel(address, is_large=call.is_large) if address else None
        if channel is None:
            call.reply.set_exception(_too_many() if address else self._unmapped())
        elif isinstance(call.aim, Asked):
            _ask(channel, call)
        else:
            channel.send(call)

    async def next_call(self, call: Call, failure: RedisFailure) -> Call | None:
        """Return what a call has to be instead at once; None if that would not help.

        Raises RedisFailure if no node can be found for it.
        """
        cause = failure.__cause__
        if self._find(call) is None:
            await self.learn(call.deadline)
            if self._find(call) is None:
                raise self._unmapped()
            return again(call)
        if isinstance(cause, AskError) and isinstance(call.aim, bytes | Asked):
            return again(call, aim=await self._follow(cause, call, call.aim))
        if not failure.was_refused or isinstance(cause, _OUTDATED):
            _ = self._learn_soon()  # the next try may find another map
        return None

    async def learn(self, deadline: float | None = None) -> None:
        """Ask the cluster for its map, once for all who wait; without success nothing changes."""
        now = asyncio.get_running_loop().time()
        seconds = CALL_SECONDS if deadline is None else max(0.0, deadline - now)
        await asyncio.wait([self._learn_soon()], timeout=seconds)

    async def aclose(self) -> None:
        """Close all connections; calls that wait have failed."""
        tasks = [*self._leaving, *([self._learning] if self._learning else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._channels:
            await self._channels.popitem()[1].aclose()

    def _primaries(self) -> Iterator[Address]:
        return (shard.address for shard in self._map.shards if shard.address)

    def _find(self, call: Call) -> Address | None:
        aim = call.aim
        if isinstance(aim, bytes):
            return self._map.owner(aim)
        return aim.address if isinstance(aim, Asked) else aim

    def _unmapped(self) -> RedisFailure:
        return translate(self._fault, was_sent=False)

    async def _follow(self, told: AskError, call: Call, aim: bytes | Asked) -> Aim:
        """Go where a node sends a call: for this time (ASK), or from now on (MOVED)."""
        key = aim.key if isinstance(aim, Asked) else aim
        address = redirected(told.host, told.port, self._find(call) or (told.host, told.port))
        if not isinstance(told, MovedError):
            return Asked(address, key)
        if address not in self._primaries():
            await self.learn(call.deadline)
        if self._map.owner(key) != address:
            self._install(self._map.moved(told.slot_id, address))
        _ = self._learn_soon()
        return key

    def _learn_soon(self) -> asyncio.Task[None]:
        """Return the search that is under way, or begin one."""
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._learn())
        return self._learning

    async def _learn(self) -> None:
        faults: list[Exception] = []
        for address in self._candidates():
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    reply = await self._ask_for_slots(address)
                self._hear(reply, address)
            except RedisFailure as failure:
                faults.append(cast("Exception", failure.__cause__))
            except (RedisError, OSError) as error:
                faults.append(error)
            else:
                return
        # What one has answered says more than that another is away.
        replies = [each for each in faults if isinstance(each, ResponseError | AuthenticationError)]
        self._fault = (replies or faults)[0]

    def _candidates(self) -> Sequence[Address]:
        """Return all who may know, each time another first: one that is cut off may be wrong."""
        addresses = list(dict.fromkeys((*self._primaries(), *self._seeds.addresses)))
        self._turn += 1
        first = self._turn % len(addresses)
        return addresses[first:] + addresses[:first]

    async def _ask_for_slots(self, address: Address) -> object:
        channel = self._channels.get((address, False))
        if channel is None or channel.is_lost:
            return await self._node(address).tell_slots()
        loop = asyncio.get_running_loop()
        call = Call(_SLOTS, True, loop.time() + CALL_SECONDS, loop.create_future())  # noqa: FBT003 # it may be repeated
        channel.send(call)
        return await call.reply

    def _hear(self, reply: object, teller: Address) -> None:
        slots = slot_map(reply, teller)
        if slots != self._map:
            self._install(slots)
        self._told_at = asyncio.get_running_loop().time()

    def _install(self, slots: SlotMap) -> None:
        """Use a map; whoever kept what a former primary told has to ask anew."""
        if self._tell is not None and self._map.shards:
            self._tell(None)
        self._map = slots
        self._fault = Unmapped()
        primaries = set(self._primaries())
        for lane in [lane for lane in self._channels if not self._is_wanted(lane, primaries)]:
            self._trackings.pop(lane[0], None)
            task = asyncio.create_task(_leave(self._channels.pop(lane)))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def _is_wanted(self, lane: _Lane, primaries: Collection[Address]) -> bool:
        address, is_large = lane
        return address in primaries and (self._has_two_lanes or not is_large)

    @property
    def _has_two_lanes(self) -> bool:
        return 2 * len(self._map.shards) <= self._max_connections

    def _channel(self, address: Address, *, is_large: bool) -> Channel | None:
        """Return a channel; one that is lost gives way to a new one. None = one too many."""
        lane = (address, is_large and self._has_two_lanes)
        channel = self._channels.get(lane)
        if channel is not None and not channel.is_lost:
            return channel
        if len({*self._primaries(), address}) > self._max_connections:
            return None
        node = self._guard(self._node(address), address)
        channel = Channel(node, None if lane[1] else self._listener(address))
        self._channels[lane] = channel
        return channel

    def _node(self, address: Address) -> Node:
        return Node(self._seeds.like, address)

    def _listener(self, address: Address) -> Tracking | None:
        if self._tell is None:
            return None
        return self._trackings.setdefault(address, Tracking(self._tell))


def again(call: Call, *, packed: Sequence[bytes] = (), aim: Aim | None = None) -> Call:
    """Return a call that is not sent yet, for what is left of the time of one that failed."""
    reply = asyncio.get_running_loop().create_future()
    packed, aim = packed or call.packed, call.aim if aim is None else aim
    return replace(call, packed=packed, aim=aim, reply=reply, was_sent=False)


def _ask(channel: Channel, call: Call) -> None:
    """Send ASKING and a call in one write, both even if the caller goes.

    ASKING alone would be for the call of somebody else.
    """
    asking, kept = again(call, packed=_ASKING), again(call)
    asking.reply.add_done_callback(asyncio.Future.exception)
    call.reply = asyncio.shield(kept.reply)
    channel.send(asking)
    channel.send(kept)


async def _leave(channel: Channel) -> None:
    """Close a channel when its last calls are through."""
    try:
        await asyncio.sleep(CALL_SECONDS)
    finally:
        await channel.aclose()


def _too_many() -> RedisFailure:
    return RedisFailure(
        "its cluster has more primaries than REDIS_MAX_CONNECTIONS allows connections: raise it",
        was_sent=False,
        was_refused=False,
        is_passing=False,
    )
