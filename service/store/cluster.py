"""A cluster as its nodes tell of it: which primary has which slot, and the way to each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, cast

from redis.asyncio.connection import AbstractConnection, Connection
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from service.store.failures import Unmapped
from service.store.topology import Single, ask, opened

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Shard:
    """A primary; `slot` is the lowest that it has. The one of no cluster has no address."""

    slot: int = 0
    id: str = ""
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Where a key is for one call, while its slot moves there."""

    address: Address
    key: bytes


Aim = bytes | Address | Asked
"""Where a call goes: to the primary of a key, or to a certain node."""

ANYWHERE = b""
"""The aim of what has no key: the empty key is as good as any."""


@dataclass(frozen=True, slots=True)
class SlotMap:
    """Which primary has which slot, as one node saw it."""

    ranges: Sequence[tuple[int, int, Address]] = ()
    """First slot, last slot and whose they are: what tells two maps apart."""

    shards: tuple[Shard, ...] = ()
    """In the order of their lowest slots."""

    owners: Sequence[Address | None] = field(
        default=(None,) * REDIS_CLUSTER_HASH_SLOTS, compare=False, repr=False
    )

    def owner(self, key: bytes) -> Address | None:
        """Return the primary of a key, None if nobody has its slot."""
        return self.owners[key_slot(key)]

    def moved(self, slot: int, address: Address) -> "SlotMap":
        """Return a map in which a slot is elsewhere."""
        owners = list(self.owners)
        owners[slot] = address
        return SlotMap((*self.ranges, (slot, slot, address)), self.shards, owners)


def slot_map(reply: object, teller: Address) -> SlotMap:
    """Read what a node answers to CLUSTER SLOTS. Raises Unmapped if nobody has any."""
    ranges: list[tuple[int, int, Address]] = []
    owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
    shards: dict[Address, Shard] = {}
    try:
        told = sorted(cast("list[list[Any]]", reply), key=itemgetter(0))
        for first, last, (host, port, name, *_), *_ in told:
            address = redirected((host or b"").decode(), port, teller)
            ranges.append((first, last, address))
            owners[first : last + 1] = [address] * (last + 1 - first)
            shards.setdefault(address, Shard(first, name.decode(), address))
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise Unmapped from error
    if not shards:
        raise Unmapped
    return SlotMap(ranges, tuple(shards.values()), owners)


def redirected(host: str, port: int, teller: Address) -> Address:
    """Return where a node sends a call; one that does not know its host means its own."""
    return (teller[0] if host in {"", "?"} else host, port)


class Node:
    """One node of a cluster."""

    may_move = False

    def __init__(self, like: Single, address: Address) -> None:
        """Be at an address, and for the rest like any of the cluster."""
        self._like = like
        self._address = address
        self.is_tls_verified = like.is_tls_verified

    async def open(self) -> AbstractConnection:
        """See Topology."""
        connection = self._like.make()
        assert isinstance(connection, Connection)
        connection.host, connection.port = self._address
        return await opened(connection)

    async def tell_slots(self) -> object:
        """Ask the node which slots are whose, on a connection for that alone."""
        connection = await self.open()
        reply: object = await ask(connection, "CLUSTER", "SLOTS")
        await connection.disconnect(nowait=True)
        return reply
