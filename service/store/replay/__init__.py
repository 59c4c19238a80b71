"""What is done when Redis has lost its memory: each process plays again what it has written.

log        the writes that this process made, bounded in bytes
identity   which Redis it is, and which processes write to it
rounds     how the processes wait for each other
known      what a process was told last of a session
staged     what all processes know of a session, put together in Redis
passes     what comes of playing it once
player     plays a log again, alone and together with others
recovery   the whole of it, before a connection may be used
"""

from service.store.replay.log import ReplayLog
from service.store.replay.recovery import Recovery

__all__ = ["Recovery", "ReplayLog"]
