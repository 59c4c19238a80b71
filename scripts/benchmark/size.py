"""How much is measured: all of it, or a little for CI."""

from dataclasses import dataclass

from scripts.benchmark.calls import Operation, Peer
from scripts.benchmark.redis_bytes import Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured: all of it, or a little."""

    rounds: int
    seconds: float
    connections: tuple[int, ...]
    delayed_connections: tuple[int, ...]
    delayed_operations: tuple[Operation, ...]
    peers: tuple[Peer, ...]
    cold_sessions: int
    scale: int
    patience: Patience
    crowd_seconds: float
    has_libraries: bool


FULL = Size(
    rounds=5,
    seconds=1.0,
    connections=(1, 32, 256),
    delayed_connections=(1, 32),
    delayed_operations=tuple(Operation),
    peers=tuple(Peer),
    cold_sessions=4_000,
    scale=1,
    patience=Patience(settle_seconds=2.5, quiet_seconds=13.0),
    crowd_seconds=5.0,
    has_libraries=True,
)
SMOKE = Size(
    rounds=2,
    seconds=0.15,
    connections=(1, 32),
    delayed_connections=(1,),
    delayed_operations=(Operation.READ_HOT,),
    peers=(Peer.OURS, Peer.STARLETTE, Peer.FASTAPI, Peer.WEBDIS),
    cold_sessions=300,
    scale=50,
    patience=Patience(settle_seconds=0.0, quiet_seconds=0.5),
    crowd_seconds=1.0,
    has_libraries=False,  # importing them takes longer than all the rest
)
