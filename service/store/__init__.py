"""The durable tier: the only package that knows redis, key names, scripts and retries."""

from service.store.arguments import Defaults
from service.store.backups import Backup, BackupStore, Mark
from service.store.census import Census
from service.store.cluster import Shard
from service.store.directory import Directory
from service.store.keys import refs_of
from service.store.leases import Held, LeaseStore
from service.store.link import Link
from service.store.redis_store import RedisStore
from service.store.replay import Recovery, ReplayLog
from service.store.scan import Described
from service.store.target import RedisTarget
from service.store.watch import Watch

__all__ = [
    "Backup",
    "BackupStore",
    "Census",
    "Defaults",
    "Described",
    "Directory",
    "Held",
    "LeaseStore",
    "Link",
    "Mark",
    "Recovery",
    "RedisStore",
    "RedisTarget",
    "ReplayLog",
    "Shard",
    "Watch",
    "refs_of",
]
