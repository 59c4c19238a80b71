"""A primary, its replica, and sentinels that let the one take the other's place."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from tests.polling import eventually
from tests.servers import HOST, Server, binary, free_port, start_server

NAME = "mymaster"
PASSWORD = "of-all-servers"
COUNT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """Two servers and those who watch them."""

    primary: Server
    replica: Server
    ports: tuple[int, ...]
    sentinels: tuple[subprocess.Popen[bytes], ...]

    @property
    def url(self) -> str:
        """The address for the service."""
        hosts = ",".join(f"{HOST}:{port}" for port in self.ports)
        return f"redis+sentinel://:{PASSWORD}@{hosts}/{NAME}/0"


@contextmanager
def start_guarded() -> Iterator[Guarded]:
    """Run a primary and a replica under three sentinels, two of which decide."""
    secret = ("--requirepass", PASSWORD, "--masterauth", PASSWORD)
    options = (*secret, "--repl-diskless-sync-delay", "0")
    with ExitStack() as stack:
        primary = stack.enter_context(start_server("valkey", *options))
        replica = stack.enter_context(
            start_server("valkey", *options, "--replicaof", f"{HOST} {primary.port}")
        )
        ports = tuple(free_port() for _ in range(COUNT))
        sentinels = tuple(stack.enter_context(_sentinel(port, primary.port)) for port in ports)
        yield Guarded(primary=primary, replica=replica, ports=ports, sentinels=sentinels)


@contextmanager
def _sentinel(port: int, primary_port: int) -> Iterator[subprocess.Popen[bytes]]:
    directory = Path(tempfile.mkdtemp(prefix="ballast-test-"))
    file = directory / "sentinel.conf"
    file.write_text(
        f"port {port}\nbind {HOST}\ndir {directory}\nlogfile {directory}/log\n"
        f"sentinel monitor {NAME} {HOST} {primary_port} 2\n"
        f"sentinel auth-pass {NAME} {PASSWORD}\n"
        f"sentinel down-after-milliseconds {NAME} 500\n"
        f"sentinel failover-timeout {NAME} 2000\n"
    )
    process = subprocess.Popen([binary("valkey"), file, "--sentinel"])
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


async def until_all_know_all(guarded: Guarded) -> None:
    """Wait until the sentinels could let the replica take over."""

    async def facts() -> set[tuple[int, int]]:
        seen = set()
        for port in guarded.ports:
            with suppress(RedisError), Redis(host=HOST, port=port) as sentinel:
                told = sentinel.sentinel_master(NAME)
                seen.add((told["num-slaves"], told["num-other-sentinels"]))
        return seen

    await eventually(facts, lambda seen: seen == {(1, 2)}, within_seconds=20)
