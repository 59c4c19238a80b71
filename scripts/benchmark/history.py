"""Each shape of history filled once: what it weighs and costs, and one of them in the hot tier."""

from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis

from scripts.benchmark.corpus import Chat, Shape, even, uneven
from scripts.benchmark.density import Density, Filler, warm, weigh_shape
from scripts.benchmark.growth import Growth, measure_growth
from scripts.benchmark.hot_tier import HotTier, weigh_hot_tier
from scripts.benchmark.processes import WEIGHED, redis_url, running_service
from scripts.benchmark.redis_bytes import Patience
from tests.servers import Server, start_server

MOST_MESSAGES = 10_000
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """What is filled: for the growth of sessions, of histories, and for the weights alone."""

    sessions: tuple[Shape, ...]
    histories: tuple[Shape, ...]
    weighed: dict[str, Shape]


def shapes(scale: int) -> Shapes:
    """Divide the numbers of sessions by `scale`."""
    few, some, many = (max(1, n // scale) for n in (100, 1_000, 10_000))
    hundred, long = even(many, 100), even(few, MOST_MESSAGES)
    return Shapes(
        sessions=(even(few, 100), even(some, 100), hundred),
        histories=(even(few, 100), even(few, 1_000), long),
        weighed={
            "5": even(many, 5),
            "random": uneven(many),
            "1": even(many, 1),
            "100": hundred,
            "10,000": long,
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Histories:
    """All that was found, by the name of the shape."""

    densities: dict[str, Density]
    growths: dict[str, Growth]
    hot: HotTier


def measure_histories(
    wanted: Shapes, chat: Chat, *, patience: Patience, seconds: float, tell: Tell
) -> Histories:
    """Fill every shape once and measure on it what is asked of it."""
    densities, growths, hot = {}, {}, None
    grown = {shape.name for shape in (*wanted.sessions, *wanted.histories)}
    every = {s.name: s for s in (*wanted.sessions, *wanted.histories, *wanted.weighed.values())}
    with (
        start_server("valkey", "--maxclients", "2000") as server,
        Redis.from_url(redis_url(server.port)) as redis,
    ):
        for name, shape in every.items():
            tell(f"history of {name}")
            densities[name] = _weigh(server, redis, shape, chat, patience)
            if name == wanted.weighed["100"].name:
                hot = weigh_hot_tier(server.port, shape, chat)
            if name in grown:
                growths[name] = measure_growth(server, redis, shape, seconds)
    assert hot is not None  # one of the shapes is weighed for it
    return Histories(densities=densities, growths=growths, hot=hot)


def _weigh(server: Server, redis: Redis, shape: Shape, chat: Chat, patience: Patience) -> Density:
    """Weigh by a service that is gone afterwards: it would hear of every write that follows."""
    with running_service(server.port, MAX_MESSAGES=str(MOST_MESSAGES), **WEIGHED) as service:
        filler = Filler(redis=redis, port=service.port, patience=patience)
        warm(filler)
        return weigh_shape(filler, shape, chat)
