"""One storm from its beginning to its result."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from random import randrange

import msgspec

from scripts.benchmark.processes import ROOT
from scripts.storming import watch as watching_words
from scripts.storming.crowd import Account, Task
from scripts.storming.loads import LOADS
from scripts.storming.stage import Stage, StormError, stage
from scripts.storming.watch import Action, Sample, Watch, watching

ADMISSION = "admission"
LAYERS = {"advanced", "basic", "direct", "health"}
NEIGHBOUR = ", with a neighbour"
NEIGHBOUR_SHARE = 0.87
"""Of the quota, by all together, when the neighbour has taken its part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What shall be rehearsed. `settings` are the service's, MEMORY_FAULT among them."""

    load: str
    quota_mb: int
    seconds: float | None = None
    bursts: int = 20
    settings: Mapping[str, str] = field(default_factory=dict)
    grouped: bool = True
    has_neighbour: bool = False

    @property
    def name(self) -> str:
        """Say it in a few words."""
        extra = "".join(f", {name}={text}" for name, text in self.settings.items())
        return f"{self.load} in {self.quota_mb} MB{extra}{NEIGHBOUR * self.has_neighbour}"

    @property
    def is_control(self) -> bool:
        """Whether what keeps the service alive is switched off: it must not survive."""
        faults = set(self.settings.get("MEMORY_FAULT", "").split(","))
        return ADMISSION in faults or faults >= LAYERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What has happened; `exit_code` is that of the storm, None = the service has survived it."""

    order: Order
    exit_code: int | None
    kills: int
    kernel_peak_bytes: int
    samples: list[Sample] = field(repr=False)
    actions: list[Action]
    latencies_ms: list[float] = field(repr=False)
    account: Account
    quota_bytes: int

    @property
    def has_survived(self) -> bool:
        """Whether the service was there from the beginning to the end."""
        return self.exit_code is None and self.kills == 0

    @property
    def peak_percent(self) -> float:
        """The most that was seen of the quota; who was killed has used all of it."""
        if self.kills:
            return 100.0
        return max(sample.used_bytes for sample in self.samples) / self.quota_bytes * 100

    @property
    def pause_ms(self) -> float:
        """What all cleanups have taken together."""
        return sum(action.ms for action in self.actions)

    @property
    def health_ms(self) -> float:
        """The p99 of /health."""
        ordered = sorted(self.latencies_ms) or [0.0]
        return ordered[len(ordered) * 99 // 100]


def rehearse(order: Order) -> Result:
    """Rehearse. Raises StormError."""
    with (
        stage(order.quota_mb, order.settings, grouped=order.grouped) as service,
        watching(service) as watch,
        crowd(order, service) as clients,
    ):
        with neighbour(service) if order.has_neighbour else nullcontext():
            _follow(clients, order, service, watch, until="over")
        exit_code, kills = service.exit_code, service.kills()
        if exit_code is not None or LOADS[order.load].restarts:
            service.restart()
        _say(clients, "read")
        account = _follow(clients, order, service, watch, until="read")
        return Result(
            order=order,
            exit_code=exit_code if exit_code is not None else service.exit_code,
            kills=max(kills, service.kills()),
            kernel_peak_bytes=service.peak_bytes(),
            samples=watch.samples,
            actions=watch.actions.found,
            latencies_ms=watch.latencies_ms,
            account=account,
            quota_bytes=service.quota_bytes,
        )


@contextmanager
def crowd(order: Order, service: Stage) -> Iterator[subprocess.Popen[str]]:
    """Start the clients; they are gone at the end."""
    task = Task(
        port=service.port,
        load=order.load,
        seconds=order.seconds or LOADS[order.load].seconds,
        bursts=order.bursts,
        seed=randrange(1_000_000),  # noqa: S311 # of phases and sizes
    )
    words = [sys.executable, "-m", "scripts.storming.crowd", msgspec.json.encode(task).decode()]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def neighbour(service: Stage) -> Iterator[None]:
    """Let somebody else use up the quota, too; gone at the end."""
    if service.group is None:
        raise StormError("a neighbour needs a memory group to share")
    mark_bytes = str(int(service.quota_bytes * NEIGHBOUR_SHARE))
    words = (sys.executable, "-m", "scripts.storming.neighbour")
    command = service.group.command((*words, str(service.group.usage), mark_bytes))
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            yield
        finally:
            process.kill()


def _follow(
    clients: subprocess.Popen[str], order: Order, service: Stage, watch: Watch, *, until: str
) -> Account:
    """Hear the clients until they come to a phase; a storm over a dead service is cut short."""
    is_told = False
    for said in clients.stdout or ():
        account = msgspec.json.decode(said, type=Account)
        show(watching_words.line(watch, order.name, account.acknowledged, account.shed))
        if account.phase == until:
            return account
        if service.exit_code is not None and not is_told:
            _say(clients, "over")
            is_told = True
    raise StormError(f"the clients of {order.name} have ended before their work")


def _say(clients: subprocess.Popen[str], word: str) -> None:
    if clients.stdin:
        clients.stdin.write(f"{word}\n")
        clients.stdin.flush()


def show(progress: str) -> None:
    """Draw over the line before, on a terminal; elsewhere say nothing."""
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)
