"""How much a Redis holds: bytes of each shape of history, of bookkeeping, of logins."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from redis import Redis

from scripts.benchmark import generator
from scripts.benchmark.calls import request
from scripts.benchmark.corpus import Chat, Shape, append, histories, login, turns
from scripts.benchmark.redis_bytes import Patience, Scale, Weight, emptied, fill_lists

FILLERS = 32
TTL_SECONDS = 2_592_000
REMEMBERED = 512
KEYED_CALLS = 16
WARM_ROUNDS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Filler:
    """Writes through the service and weighs what that took in Redis."""

    redis: Redis
    port: int
    patience: Patience

    def weigh(self, requests: Iterable[bytes]) -> Weight:
        """Fill an empty Redis; it stays filled."""
        scale = emptied(self.redis, self.patience)
        generator.drive(self.port, requests, connections=FILLERS)
        return scale.weigh_idle(self.patience)

    def weigh_directly(self, fill: Callable[[], None]) -> int:
        """Fill an empty Redis past the service."""
        scale: Scale = emptied(self.redis, self.patience)
        fill()
        return scale.weigh()


def warm(filler: Filler) -> None:
    """Have each script loaded and run before an empty Redis is weighed: they take memory too."""
    calls = [
        append("warm", [b'{"id":"1"}'], dedupe="id", key=f"warm-{n}") for n in range(KEYED_CALLS)
    ]
    state = request("POST", "/v1/sessions/warm/state", b'{"set":{"a":1},"get":["a"]}')
    read = request("GET", "/v1/sessions/warm/messages")
    generator.drive(filler.port, [*calls, state, read] * WARM_ROUNDS, connections=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Density:
    """A shape's bytes, ours and those of lists of JSON with the same lines."""

    shape: Shape
    ours: Weight
    lists: int

    @property
    def ratio(self) -> float:
        """Ours in lists, when idle."""
        return self.ours.idle / self.lists


def weigh_shape(filler: Filler, shape: Shape, chat: Chat) -> Density:
    """Weigh one shape; Redis holds ours of it afterwards."""
    lists = filler.weigh_directly(
        lambda: fill_lists(filler.redis, histories(shape, chat.lines), TTL_SECONDS)
    )
    ours = filler.weigh(append(name, said) for name, said in turns(shape, chat.lines))
    return Density(shape=shape, ours=ours, lists=lists)


def dedupe_bytes(filler: Filler, sessions: int) -> float:
    """Bytes of a remembered message: the same messages with and without."""
    weights = [
        filler.weigh(_identified(sessions, dedupe=dedupe, prefix=prefix)).idle
        for dedupe, prefix in (("", "plain"), ("id", "known"))
    ]
    return (weights[1] - weights[0]) / (sessions * REMEMBERED)


def _identified(sessions: int, *, dedupe: str, prefix: str) -> Iterator[bytes]:
    for start in range(0, REMEMBERED, 8):
        for number in range(sessions):
            said = [
                b'{"id":"3EB0%016X","text":"what a bot hears"}' % (number * REMEMBERED + start + n)
                for n in range(8)
            ]
            yield append(f"{prefix}{number}", said, dedupe=dedupe)


def keyed_call_bytes(filler: Filler, sessions: int) -> float:
    """Bytes of a remembered call: the same calls with and without an Idempotency-Key."""
    weights = [filler.weigh(_keyed(sessions, is_keyed=is_keyed)).idle for is_keyed in (False, True)]
    return (weights[1] - weights[0]) / (sessions * KEYED_CALLS)


def _keyed(sessions: int, *, is_keyed: bool) -> Iterator[bytes]:
    for turn in range(KEYED_CALLS):
        for number in range(sessions):
            key = f"3f0c1f6e-8d1b-4a8e-9c39-{number * KEYED_CALLS + turn:012x}" if is_keyed else ""
            # Names of one length: what is compared is the key alone.
            yield append(f"{'y' if is_keyed else 'n'}{number}", [b'{"text":"hello"}'], key=key)


def weigh_logins(filler: Filler, logins: int) -> tuple[Weight, int]:
    """Bytes of WhatsApp logins: ours, and hashes of the same texts."""
    states = {f"login{n}": login(n) for n in range(logins)}

    def fill_hashes() -> None:
        for name, state in states.items():
            filler.redis.hset(f"state:{name}", items=[it for pair in state.items() for it in pair])
            filler.redis.expire(f"state:{name}", TTL_SECONDS)

    hashes = filler.weigh_directly(fill_hashes)
    ours = filler.weigh(
        request("POST", f"/v1/sessions/{name}/state", _set_body(state))
        for name, state in states.items()
    )
    return ours, hashes


def _set_body(state: dict[str, str]) -> bytes:
    members = ",".join(f"{json.dumps(key)}:{text}" for key, text in state.items())
    return f'{{"set":{{{members}}}}}'.encode()
