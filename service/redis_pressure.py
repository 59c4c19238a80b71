"""Redis as a governed resource: what is done when it fills, by its own account of its memory.

standard   from 70 % of its maxmemory on: all history that is not packed yet is, and it warns
emergency  from 85 % on it warns loudly; only if the owner has said how many messages a session
           keeps, those beyond are dropped, once all is packed, until 70 % are left

State is never dropped. Nothing waits for any of this.
"""

import asyncio
import logging
from dataclasses import dataclass

from service.clock import Clock
from service.errors import ServiceError
from service.memory.tiers import DEFAULT_MARKS, next_tier
from service.rounds import Rounds
from service.store import Watch
from service.vitals import Counters, RedisPressureStatus, StoreStatus, Tier

INTERVAL_SECONDS = 2.0
LATE_SECONDS = 4.0
"""Since the last look at Redis; then nobody looks for /health, and it is done here."""

PACK_AGAIN_SECONDS = 600.0
DROP_AGAIN_SECONDS = 60.0
MIB = 1_048_576

_NEVER = float("-inf")
_log = logging.getLogger("ballast.redis")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisPolicy:
    """Not `enabled` = it only looks; without `keep_messages` nothing is ever dropped."""

    keep_messages: int | None = None
    enabled: bool = True


def tier_of(current: Tier, status: StoreStatus) -> Tier:
    """Return the tier that Redis is in; as long as it does not tell, the same as before."""
    if status.used_memory_bytes is None:
        return current
    return next_tier(current, status.fraction or 0.0, DEFAULT_MARKS)


class RedisPressure:
    """Keeps Redis below its maxmemory, as far as that may be done."""

    def __init__(self, watch: Watch, rounds: Rounds, clock: Clock, policy: RedisPolicy) -> None:
        """Decide by what `watch` sees, act by `rounds`."""
        self._watch = watch
        self._rounds = rounds
        self._clock = clock
        self._policy = policy
        self._tier = Tier.NORMAL
        self._packed_at = self._dropped_at = _NEVER
        self._sweeps = self._bytes_before = self._bytes_after = 0
        self.failures = 0

    @property
    def status(self) -> RedisPressureStatus:
        """What /health tells."""
        return RedisPressureStatus(
            tier=self._tier,
            keep_messages=self._policy.keep_messages,
            dropped_messages=self._rounds.dropped_messages,
            dropped_sessions=self._rounds.dropped_sessions,
        )

    @property
    def counters(self) -> Counters:
        """What was done since the start; the bytes are those around the last sweep."""
        return {
            "redisSweeps": self._sweeps,
            "redisSweepBytesBefore": self._bytes_before,
            "redisSweepBytesAfter": self._bytes_after,
            "redisPackedSessions": self._rounds.packed_sessions,
            "redisDroppedMessages": self._rounds.dropped_messages,
            "redisDroppedSessions": self._rounds.dropped_sessions,
            "redisPressureFailures": self.failures,
        }

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            try:
                await self.tick()
            except ServiceError:
                pass  # Redis is away, as the watch says: what was begun is begun anew
            except Exception:  # noqa: BLE001 # counted, and shown by /health
                self.failures += 1
                _log.exception("Relieving Redis failed")
            await asyncio.sleep(INTERVAL_SECONDS)

    async def tick(self) -> None:
        """Take one turn: look, decide, act. Raises ServiceError when Redis goes away."""
        await self._assess()
        if not self._policy.enabled:
            return
        if await self._is_pressed() and self._is_due(self._packed_at, PACK_AGAIN_SECONDS):
            await self._pack()
        keep = self._policy.keep_messages
        if keep is None or not await self._is_emergency():
            return
        if self._is_due(self._dropped_at, DROP_AGAIN_SECONDS):
            await self._drop(keep)

    async def _assess(self) -> None:
        """Find the tier; say so in the log when it is another."""
        if self._clock.monotonic() - self._watch.looked_at >= LATE_SECONDS:
            await self._watch.look()
        status, before = self._watch.status, self._tier
        self._tier = tier_of(before, status)
        if self._tier is Tier.NORMAL:
            self._packed_at = self._dropped_at = _NEVER
        if self._tier is not before:
            _tell(self._tier, status, self._policy)

    async def _is_pressed(self) -> bool:
        await self._assess()
        return self._tier is not Tier.NORMAL

    async def _is_emergency(self) -> bool:
        await self._assess()
        return self._tier is Tier.EMERGENCY

    def _is_due(self, since: float, pause_seconds: float) -> bool:
        return self._clock.monotonic() - since >= pause_seconds

    async def _pack(self) -> None:
        """Have a round of packing, and tell what it brought."""
        before, sessions = await self._used_bytes(), self._rounds.packed_sessions
        await self._rounds.pack(self._is_pressed)
        self._sweeps += 1
        self._bytes_before, self._bytes_after = before, await self._used_bytes()
        self._packed_at = self._clock.monotonic()
        _log.info(
            "Packed the history of %d sessions in Redis: %d bytes in use before, %d after.",
            self._rounds.packed_sessions - sessions,
            self._bytes_before,
            self._bytes_after,
        )

    async def _drop(self, keep: int) -> None:
        """Have a round of dropping, and tell what was lost."""
        before, rounds = await self._used_bytes(), self._rounds
        messages, sessions = rounds.dropped_messages, rounds.dropped_sessions
        try:
            await rounds.drop(keep, DEFAULT_MARKS.emergency_leave, self._is_emergency)
        finally:
            if rounds.dropped_messages > messages:
                _log.warning(
                    "Dropped the oldest %d messages of %d sessions: Redis had %d bytes in use,"
                    " and REDIS_EMERGENCY_KEEP_MESSAGES is %d.",
                    rounds.dropped_messages - messages,
                    rounds.dropped_sessions - sessions,
                    before,
                    keep,
                )
        self._dropped_at = self._clock.monotonic()
        await self._watch.look()

    async def _used_bytes(self) -> int:
        await self._watch.look()
        return self._watch.status.used_memory_bytes or 0


def _tell(tier: Tier, status: StoreStatus, policy: RedisPolicy) -> None:
    """Say in the log which tier it is now, and what to do about it."""
    percent, used = 100 * (status.fraction or 0.0), (status.used_memory_bytes or 0) / MIB
    if tier is Tier.NORMAL:
        _log.info("Redis has room again: %.1f%% in use (%.1f MB).", percent, used)
    elif tier is Tier.STANDARD:
        advice = "Take a larger plan, a shorter ttl or a lower MAX_MESSAGES."
        _log.warning("⚠️ Redis usage high: %.1f%% (%.1f MB). %s", percent, used, advice)
    else:
        keep = policy.keep_messages if policy.enabled else None
        loss = f"all but the newest {keep} messages" if keep else "nothing"
        text = (
            "🚨 Redis usage critical: %.1f%% (%.1f MB). When it is full, writes are answered 507;"
        )
        text += " of a session %s may be dropped."
        _log.error(text, percent, used, loss)
