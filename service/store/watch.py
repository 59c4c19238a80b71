"""Looks at Redis every few seconds, so that /health can tell without asking."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace

from service.clock import Clock
from service.errors import ServiceError
from service.store.link import Link
from service.vitals import StoreStatus

INTERVAL_SECONDS = 2.0
BACK_OFF_SECONDS = (0.1, 0.2, 0.5, 1.0)

_log = logging.getLogger("ballast.store")


class Watch:
    """Keeps a StoreStatus up to date; `run` lives as long as the service."""

    def __init__(self, link: Link, clock: Clock, *, connections_max: int) -> None:
        """Start as not connected: nothing was asked yet."""
        self._link = link
        self._clock = clock
        self._failures = 0
        self.looked_at = float("-inf")
        """When a look was begun last, on the monotonic clock."""
        self._told: set[str] = set()
        self._nothing = StoreStatus(
            connected=False, connections_max=connections_max, tls_verified=link.is_tls_verified
        )
        self._status = self._nothing

    @property
    def status(self) -> StoreStatus:
        """What the last look saw; every call of the service tells whether Redis answers."""
        return replace(
            self._status, connected=self._link.is_answering, is_tracking=self._link.is_tracking
        )

    async def run(self, *, is_active: bool = True) -> None:
        """Look, wait, look again, sooner while Redis is away; not active = only while it is."""
        while True:
            if is_active or not self._link.is_answering:
                await self.look()
            await asyncio.sleep(self._pause_seconds())

    async def look(self) -> None:
        """Ask Redis once; say in the log when it came or went, once."""
        started = self.looked_at = self._clock.monotonic()
        try:
            infos = [_parse_info(reply) for reply in await self._link.everywhere("INFO")]
        except ServiceError as error:
            self._tell(error.detail)
            self._failures += 1
            self._status = replace(self._nothing, last_error=error.detail)
            return
        if not self._status.connected:
            _log.info("Connected to Redis.")
        self._failures = 0
        self._told.clear()
        latency_ms = (self._clock.monotonic() - started) * 1000
        # Of several primaries the fullest tells: it will be the first that is full.
        fullest = max(infos, key=lambda info: _number(info, "used_memory") or 0)
        self._status = replace(
            _facts(self._nothing, fullest), connected=True, latency_ms=latency_ms
        )

    def _tell(self, detail: str) -> None:
        """Log each way of failing once an outage: a server that comes up shows several."""
        if detail not in self._told:
            self._told.add(detail)
            _log.warning("%s Trying again until it is there.", detail)

    def _pause_seconds(self) -> float:
        if self._failures == 0:
            return INTERVAL_SECONDS
        return BACK_OFF_SECONDS[min(self._failures, len(BACK_OFF_SECONDS)) - 1]


def fraction_of(reply: object) -> float | None:
    """Return how full a server is by its INFO; None if it has no limit, or hides it."""
    return _facts(StoreStatus(connected=True), _parse_info(reply)).fraction


def _parse_info(reply: object) -> dict[str, str]:
    """Return the `name:value` lines of an INFO reply."""
    lines = reply.decode("utf-8", "replace").splitlines() if isinstance(reply, bytes) else []
    pairs = (line.partition(":") for line in lines if not line.startswith("#"))
    return {name: value for name, colon, value in pairs if colon}


def _facts(status: StoreStatus, info: Mapping[str, str]) -> StoreStatus:
    """Return a status with what INFO tells; None where a server hides it."""
    return replace(
        status,
        used_memory_bytes=_number(info, "used_memory"),
        max_memory_bytes=_number(info, "maxmemory") or None,
        policy=info.get("maxmemory_policy"),
        persistence=_persistence(info),
        clients=_number(info, "connected_clients"),
    )


def _persistence(info: Mapping[str, str]) -> str | None:
    """Return "aof", "snapshots", or "none" if the server has saved nothing since it started."""
    if "aof_enabled" not in info:
        return None
    if info["aof_enabled"] == "1":
        return "aof"
    # A server that has not saved yet reports its own start as the time of its last save.
    now = _number(info, "server_time_usec") or 0
    started = now // 1_000_000 - (_number(info, "uptime_in_seconds") or 0)
    return "snapshots" if (_number(info, "rdb_last_save_time") or 0) > started + 1 else "none"


def _number(info: Mapping[str, str], name: str) -> int | None:
    text = info.get(name, "")
    return int(text) if text.isdecimal() else None
