"""What a fault is: how it is made and lifted, and what the service promises meanwhile."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.faulting.stage import Stage


class Layout(StrEnum):
    """What stands behind REDIS_URL."""

    PLAIN = "plain"
    PROXY = "proxy"
    TLS = "tls"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class Side(StrEnum):
    """Whose clock or disk is wrong."""

    REDIS = "redis"
    SERVICE = "service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the table.

    `act` makes the fault, and lifts it when its block ends; it is held for about `seconds`.
    `shows`: words of an answer that proves that it was one. `added_ms`: what it adds by itself to
    the time of an answer; `waits_ms`: to that of healing. `needs_replay`: Redis loses its memory,
    so only a service that plays its writes again keeps its word. `writers`: how many of the
    services the clients write to; None = all. `at_home`: each client has a service, and a session,
    of its own.
    """

    name: str
    title: str
    act: Callable[["Stage"], AbstractAsyncContextManager[None]]
    shows: str = ""
    layout: Layout = Layout.PLAIN
    options: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 1.5
    added_ms: float = 0.0
    waits_ms: float = 0.0
    processes: tuple[int, ...] = (1,)
    writers: int | None = None
    at_home: bool = False
    needs_shim: Side | None = None
    needs_replay: bool = False
