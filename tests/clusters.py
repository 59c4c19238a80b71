"""A cluster of real servers: three primaries, each with a replica, formed by hand."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from redis import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from tests.servers import (
    HOST,
    POLL_SECONDS,
    READY_SECONDS,
    Flavour,
    Server,
    ServerFailed,
    free_port,
    start_server,
)

PRIMARIES = 3
HIGHEST_PORT = 55_000
PASSWORD = "of-all-nodes"
OPTIONS = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000"),
    *("--cluster-require-full-coverage", "no"),
    *("--requirepass", PASSWORD, "--masterauth", PASSWORD),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustered:
    """The nodes: primaries in the order of their slots, and the replica of each."""

    primaries: tuple[Server, ...]
    replicas: tuple[Server, ...]

    @property
    def url(self) -> str:
        """The address for the service; one seed is not there."""
        seeds = ",".join(f"{HOST}:{node.port}" for node in self.primaries)
        return f"redis+cluster://:{PASSWORD}@{HOST}:1,{seeds}"

    def owner(self, key: bytes) -> Server:
        """The primary that has had a key from the beginning."""
        return self.primaries[key_slot(key) * PRIMARIES // REDIS_CLUSTER_HASH_SLOTS]

    def empty(self) -> None:
        """Take all keys and scripts away."""
        for node in self.primaries:
            with client_of(node) as redis:
                redis.flushall()
                redis.script_flush()


def client_of(node: Server) -> Redis:
    """Return a plain client of one node."""
    return Redis.from_url(node.url)


def id_of(node: Server) -> str:
    """Return the name that a node has in the cluster."""
    with client_of(node) as redis:
        return str(redis.execute_command("CLUSTER", "MYID").decode())


def slots_of(index: int) -> range:
    """Return the slots of a primary."""
    size = REDIS_CLUSTER_HASH_SLOTS
    return range(-(-index * size // PRIMARIES), -(-(index + 1) * size // PRIMARIES))


@contextmanager
def start_cluster(flavour: Flavour, *, replicas: int = PRIMARIES) -> Iterator[Clustered]:
    """Run primaries and replicas of the first ones, until each knows all and has its part."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(_start_node(flavour)) for _ in range(PRIMARIES + replicas)]
        primaries, others = tuple(nodes[:PRIMARIES]), tuple(nodes[PRIMARIES:])
        for index, node in enumerate(primaries):
            with client_of(node) as redis:
                redis.execute_command("CLUSTER", "ADDSLOTS", *slots_of(index))
                redis.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for node in nodes[1:]:
            with client_of(node) as redis:
                redis.execute_command("CLUSTER", "MEET", HOST, nodes[0].port)
        wait_until(lambda: all(_knows(node, len(nodes)) for node in nodes))
        for primary, replica in zip(primaries, others, strict=False):
            with client_of(replica) as redis:
                redis.execute_command("CLUSTER", "REPLICATE", id_of(primary))
        wait_until(lambda: all(_sees_replicas(node, replicas) for node in nodes))
        yield Clustered(primaries=primaries, replicas=others)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Return when something is so; fail after READY_SECONDS."""
    deadline = time.monotonic() + READY_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


def _start_node(flavour: Flavour) -> Server:
    """Start a node; it listens to the others at a port that is 10,000 higher, if that is free."""
    for port in (port for port in iter(free_port, None) if port < HIGHEST_PORT):
        with suppress(ServerFailed):
            return start_server(flavour, *OPTIONS, port=port)
    raise AssertionError  # pragma: no cover - there are more ports


def _knows(node: Server, count: int) -> bool:
    with client_of(node) as redis:
        info = redis.cluster("INFO")
        return (info["cluster_known_nodes"], info["cluster_state"]) == (str(count), "ok")


def _sees_replicas(node: Server, count: int) -> bool:
    """Whether it sees so many replicas, and is in step itself if it is one."""
    with client_of(node) as redis:
        replicas = [each for each in redis.cluster("NODES").values() if "slave" in each["flags"]]
        is_behind = redis.info("replication").get("master_link_status") == "down"
        return len(replicas) == count and not is_behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """The slot of a key on its way from one primary to another, by hand."""

    key: bytes
    source: Server
    target: Server

    def begin(self) -> None:
        """Let the source send on what it does not have, and the target take it (ASK)."""
        self._set(self.target, "IMPORTING", self.source)
        self._set(self.source, "MIGRATING", self.target)

    def move(self, *keys: bytes) -> None:
        """Bring keys over."""
        with client_of(self.source) as redis:
            port = self.target.port
            redis.migrate(HOST, port, [*keys], 0, 5_000, auth=PASSWORD)

    def end(self) -> None:
        """Give the slot to the target (MOVED)."""
        for node in (self.target, self.source):
            self.claim(node)

    def claim(self, node: Server) -> None:
        """Let one node believe that the target has the slot."""
        self._set(node, "NODE", self.target)

    def back(self) -> "Migration":
        """Return the way back."""
        return Migration(key=self.key, source=self.target, target=self.source)

    def _set(self, node: Server, state: str, other: Server) -> None:
        with client_of(node) as redis:
            redis.execute_command("CLUSTER", "SETSLOT", key_slot(self.key), state, id_of(other))
