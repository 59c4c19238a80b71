"""Two services on one Redis: how late one hears of the other, and whether any read is too old."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from random import Random

import msgspec
from redis import Redis

from scripts.benchmark.calls import request
from scripts.faulting.history import Event, Kind, Stale, Version, check
from scripts.storming.bot import NO_CACHE
from scripts.storming.wire import Reply, Wire
from tests.processes import Service, start_service
from tests.servers import HOST, Server, start_server

WRITES = 500
P99_MS = 5.0
DELAY_SECONDS = 0.1
CLIENTS = 6
HISTORY_CALLS = 1_500
PATH, LAGGING = "/v1/sessions/shared", "/v1/sessions/lagging"
KEY = "value"
USER = "without-tracking"
KINDS = (
    *[Kind.READ] * 8,
    *[Kind.READ_REDIS] * 3,
    *[Kind.APPEND] * 3,
    *[Kind.SET] * 3,
    Kind.UNSET,
    Kind.DELETE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Staleness:
    """How long another process answered what was before; `stale` = reads that may not be."""

    invalidation: str
    lags_ms: Sequence[float] = field(repr=False)
    calls: int
    stale: Sequence[Stale]

    def percentile(self, percent: int) -> float:
        """Return a percentile of the lags, in ms."""
        ordered = sorted(self.lags_ms)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

    @property
    def faults(self) -> list[str]:
        """Name what may not be."""
        late = self.percentile(99)
        rules = (
            (late > P99_MS, f"{self.invalidation}: another process lags by {late:.1f} ms (p99)"),
            (bool(self.stale), f"{self.invalidation}: {len(self.stale)} reads are too old"),
        )
        return [words for is_broken, words in rules if is_broken]


class Whole(msgspec.Struct):
    """What we look at of a session with its contents."""

    etag: str
    state: dict[str, int]
    messages: list["Entry"]


class Numbered(msgspec.Struct):
    """A message of ours."""

    n: int


class Entry(msgspec.Struct):
    """A message as the service gives it back."""

    message: Numbered


class Written(msgspec.Struct):
    """What we look at of an answer to a write; no ETag if there is no session."""

    etag: str | None


async def measure_both() -> list[Staleness]:
    """Measure with a Redis that tells of changes, and with one that may not be asked to."""
    return [await measure(may_track=may_track) for may_track in (True, False)]


async def measure(*, may_track: bool) -> Staleness:
    """Start two services, write through one, read through the other; then a random history."""
    async with pair(may_track=may_track) as services:
        told = {service.redis()["invalidation"] for service in services}
        ports = [service.port for service in services]
        lags = await measure_lags(ports, WRITES)
        events = await record(ports, HISTORY_CALLS, Random())  # noqa: S311 # of calls
        return Staleness(
            invalidation="/".join(sorted(told)),
            lags_ms=lags,
            calls=len(events),
            stale=check(events, delay_seconds=DELAY_SECONDS),
        )


@asynccontextmanager
async def pair(*, may_track: bool) -> AsyncIterator[list[Service]]:
    """Run two services on one Redis; a user who may not track hears of no changes."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(start_server("valkey"))
        url = server.url if may_track else _limited(server)
        services = []
        for _ in range(2):
            service = await asyncio.to_thread(start_service, REDIS_URL=url)
            services.append(stack.enter_context(service))
            await asyncio.to_thread(service.wait_until_connected)
        yield services


def _limited(server: Server) -> str:
    """Make a user who may do all but ask for CLIENT TRACKING."""
    with Redis.from_url(server.url) as redis:
        rules = ("on", f">{USER}", "~*", "&*", "+@all", "-client|tracking")
        redis.execute_command("ACL", "SETUSER", USER, *rules)
    return f"redis://{USER}:{USER}@{HOST}:{server.port}/0"


async def measure_lags(ports: Sequence[int], writes: int) -> list[float]:
    """Return for each write the ms from its answer to the first of the other service with it."""
    writer, reader = (Wire(port) for port in ports)
    path = f"{LAGGING}/state/{KEY}"

    async def until_seen(number: int) -> float:
        body = b""
        while body != b"%d" % number:
            body = (await reader.call(request("GET", path))).body
        return time.monotonic()

    lags = []
    for number in range(writes):
        seen = asyncio.create_task(until_seen(number))
        await asyncio.sleep(0.002)  # it holds what was before, and knows that to be true
        await writer.call(request("PUT", path, b"%d" % number))
        answered = time.monotonic()
        lags.append(max(0.0, await seen - answered) * 1e3)
    writer.close()
    reader.close()
    return lags


async def record(ports: Sequence[int], calls: int, random: Random) -> list[Event]:
    """Let several clients write to and read one session through all services, at random."""
    numbers, events = count(1), list[Event]()

    async def work() -> None:
        wires = [Wire(port) for port in ports]
        while len(events) < calls:
            process, kind, number = (
                random.randrange(len(ports)),
                random.choice(KINDS),
                next(numbers),
            )
            began = time.monotonic()
            reply = await wires[process].call(_request(kind, number))
            events.append(_event(kind, process, began, number, reply))
        for wire in wires:
            wire.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(work())
    return events


def _request(kind: Kind, number: int) -> bytes:
    match kind:
        case Kind.APPEND:
            return request("POST", f"{PATH}/messages", b'{"messages":[{"n":%d}]}' % number)
        case Kind.SET:
            return request("POST", f"{PATH}/state", b'{"set":{"%s":%d}}' % (KEY.encode(), number))
        case Kind.UNSET:
            return request("POST", f"{PATH}/state", b'{"set":{"%s":null}}' % KEY.encode())
        case Kind.DELETE:
            return request("DELETE", PATH)
        case Kind.READ | Kind.READ_REDIS:
            headers = NO_CACHE * (kind is Kind.READ_REDIS)
            return request("GET", f"{PATH}?include=state,messages&last=1000", headers=headers)


def _event(kind: Kind, process: int, began: float, number: int, reply: Reply) -> Event:
    """Make the event of an answer; one that is no answer to such a call raises."""
    etag, numbers = None, tuple[int, ...]()
    if kind in {Kind.READ, Kind.READ_REDIS}:
        if reply.status != HTTPStatus.NOT_FOUND:
            whole = msgspec.json.decode(reply.body, type=Whole)
            etag = whole.etag
            numbers = (*(entry.message.n for entry in whole.messages), *whole.state.values())
    elif kind is not Kind.DELETE:
        etag = msgspec.json.decode(reply.body, type=Written).etag
    gen, _, rev = (etag or "").strip('"').rpartition("-")
    return Event(
        kind=kind,
        process=process,
        began=began,
        ended=time.monotonic(),
        version=Version(gen=gen, rev=int(rev)) if etag else None,
        number=number,
        numbers=numbers,
    )
