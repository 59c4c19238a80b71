"""Bytes in Redis: `used_memory` of INFO, less what an empty server with the same clients uses."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from redis import Redis

POLL_SECONDS = 0.5
LONGEST_SECONDS = 180.0
PIPELINED = 500
FALL = 0.001
"""Of what is in use: less is noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What a filling took: at once, and when the service has packed what is idle."""

    at_once: int
    idle: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait: for buffers of clients to go, and for the service to pack."""

    settle_seconds: float
    quiet_seconds: float


@dataclass(frozen=True, slots=True)
class Scale:
    """A Redis that was emptied, and what it used then."""

    redis: Redis
    empty_bytes: int

    def weigh(self) -> int:
        """Bytes that were added since."""
        return used_bytes(self.redis) - self.empty_bytes

    def weigh_idle(self, patience: Patience) -> Weight:
        """Weigh now, and again when the bytes have not fallen for so long."""
        at_once = lowest = self.weigh()
        started = fell = time.monotonic()
        while (
            now := time.monotonic()
        ) - fell < patience.quiet_seconds and now - started < LONGEST_SECONDS:
            time.sleep(POLL_SECONDS)
            weight = self.weigh()
            if weight < lowest * (1 - FALL):
                lowest, fell = weight, time.monotonic()
        return Weight(at_once=at_once, idle=self.weigh())


def emptied(redis: Redis, patience: Patience) -> Scale:
    """Delete everything; the scale then stands at zero."""
    # Plain FLUSHALL frees in the background on newer servers, while the next filling is weighed.
    redis.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call] # has no types
    # The buffers of idle clients are given back after two seconds.
    time.sleep(patience.settle_seconds)
    return Scale(redis, used_bytes(redis))


def used_bytes(redis: Redis) -> int:
    """What Redis says that it has allocated."""
    return int(redis.info("memory")["used_memory"])


def fill_lists(redis: Redis, chats: Iterable[tuple[str, list[bytes]]], ttl_seconds: int) -> None:
    """Store chats as lists of JSON with an expiry each."""
    with redis.pipeline(transaction=False) as pipe:
        for name, messages in chats:
            for start in range(0, len(messages), 1_000):
                pipe.rpush(f"chat:{name}", *messages[start : start + 1_000])
            pipe.expire(f"chat:{name}", ttl_seconds)
            if len(pipe) > PIPELINED:
                pipe.execute()
        pipe.execute()
