"""Leases in Redis: one key a session's id, whose value is the token of who holds it."""

from dataclasses import dataclass

from service.errors import Conflict
from service.model import Lease, SessionRef
from service.store.keys import lease_key
from service.store.link import Argument, Link, Reply
from service.store.scripts import script


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody else has the lease, for so long unless it is extended or released."""

    remaining_ms: int


class LeaseStore:
    """Leases of all namespaces. Every method may raise Unavailable; Redis's clock decides."""

    def __init__(self, link: Link) -> None:
        """Use `link` for every call."""
        self._link = link

    async def acquire(self, ref: SessionRef, token: str, ttl_ms: int) -> Lease | Held:
        """Take the lease if it is free, or extend it if the token has it. Raises StoreFull."""
        reply = await self._run(ref, "acquire", token, ttl_ms)
        return Held(reply[1]) if reply[0] == b"held" else Lease(token, reply[1])

    async def extend(self, ref: SessionRef, token: str, ttl_ms: int) -> Lease:
        """Let the lease end so long from now. Raises Conflict if the token does not have it."""
        reply = await self._run(ref, "extend", token, ttl_ms)
        return Lease(token, reply[1])

    async def release(self, ref: SessionRef, token: str) -> None:
        """Give the lease back. Raises Conflict if the token does not have it."""
        await self._run(ref, "release", token)

    async def check(self, ref: SessionRef, token: str) -> bool:
        """Whether the token has the lease now."""
        key = lease_key(ref)
        return await self._link.command("GET", key, aim=key) == token.encode()

    async def _run(self, ref: SessionRef, *args: Argument) -> Reply:
        reply = await self._link.run(script("lease"), [lease_key(ref)], args)
        if reply[0] == b"not_owner":
            raise Conflict(
                "This Lease-Token does not hold the lease: it has expired, or was released.",
                code="not_lease_owner",
            )
        return reply
