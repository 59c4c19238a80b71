"""What a dyno and a Redis hold and what runs out first, from the figures of scripts/bench.

    scripts/capacity --quota-mb 512 --redis-mb 25 --messages-per-session 100 --bytes-per-message 150
    scripts/capacity --sessions 100000000            what a deployment of that size needs
    scripts/capacity --table                         the README's table

A turn is one append of one message and one hot read of the last 50. CPU is that of the measured
machine's core: give --core if yours is a half or twice as fast.
"""

import argparse
import json
import math
import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.memory.plan import Wanted, make_plan
from service.memory.tiers import DEFAULT_MARKS
from service.model import Limits

DATA = Path(__file__).resolve().parents[2] / "docs" / "performance.json"
MIB = 1_048_576
BUSY_SHARE, REDIS_SHARE = 0.7, 0.85
"""Of a core that may be busy; of a Redis that may be full."""

OWN_BYTES = 40 * MIB
WANTED = Wanted(journal_bytes=8 * MIB, replay_bytes=64 * MIB)
"""Of the service before it holds anything."""

DYNOS = (("basic or standard-1x", 512), ("standard-2x", 1_024), ("performance-m", 2_560))
PLANS_MB = (25, 50, 100, 250, 500, 1_024, 7_168)
SHARD_MB = 25 * 1_024
DAY_SECONDS = 86_400


class CapacityError(Exception):
    """The figures cannot be used; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What was measured: bytes of a session by its messages, CPU of a turn, bytes when hot."""

    session_bytes: dict[int, float]
    message_bytes: float
    turn_cpu_us: float
    turn_redis_cpu_us: float
    hot_message_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a reader has."""

    quota_mb: float
    redis_mb: float
    messages: float
    message_bytes: float
    core: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What that holds, with one dyno."""

    session_bytes: float
    sessions: int
    messages: int
    hot_sessions: int
    dyno_turns: float
    redis_turns: float


def read_model(data: Mapping[str, Mapping[str, float]]) -> Model:
    """Take the model out of performance.json. Raises CapacityError."""
    model = data.get("model", {})
    prefix, suffix = "session.", ".bytes"
    try:
        return Model(
            session_bytes={
                int(name.removeprefix(prefix).removesuffix(suffix)): value
                for name, value in model.items()
                if name.startswith(prefix) and name.endswith(suffix)
            },
            message_bytes=model["chat.message_bytes"],
            turn_cpu_us=model["append-1.cpu_us"] + model["read-50-hot.cpu_us"],
            turn_redis_cpu_us=model["append-1.redis_cpu_us"] + model["read-50-hot.redis_cpu_us"],
            hot_message_bytes=model["hot.session_bytes"] / model["hot.session_messages"],
        )
    except KeyError as error:
        raise CapacityError(f"{error} was not measured: run scripts/bench --write-docs") from error


def session_bytes(model: Model, messages: float, message_bytes: float) -> float:
    """Bytes of a session in Redis: between the measured lengths on a line, beyond them along it.

    What a message takes grows with its bytes; what a session takes without any does not.
    """
    lengths = sorted(model.session_bytes)
    at = min(max(bisect_right(lengths, messages), 1), len(lengths) - 1)
    low, high = lengths[at - 1], lengths[at]
    slope = (model.session_bytes[high] - model.session_bytes[low]) / (high - low)
    measured = model.session_bytes[low] + slope * (messages - low)
    empty = min(_empty_bytes(model), measured)
    return empty + (measured - empty) * message_bytes / model.message_bytes


def _empty_bytes(model: Model) -> float:
    """Bytes of a session without messages: the line through the two shortest, at zero."""
    first, second = sorted(model.session_bytes)[:2]
    slope = (model.session_bytes[second] - model.session_bytes[first]) / (second - first)
    return max(0.0, model.session_bytes[first] - slope * first)


def hot_bytes(quota_mb: float) -> int:
    """Return the budget of the hot tier, as the service plans it."""
    return make_plan(int(quota_mb * MIB), OWN_BYTES, DEFAULT_MARKS, Limits(), WANTED).hot_bytes


def capacity(model: Model, case: Case) -> Capacity:
    """Compute what the case holds."""
    size = session_bytes(model, case.messages, case.message_bytes)
    sessions = int(case.redis_mb * MIB * REDIS_SHARE / size)
    hot = model.hot_message_bytes * case.messages * case.message_bytes / model.message_bytes
    return Capacity(
        session_bytes=size,
        sessions=sessions,
        messages=int(sessions * case.messages),
        hot_sessions=int(hot_bytes(case.quota_mb) / hot),
        dyno_turns=BUSY_SHARE * case.core * 1e6 / model.turn_cpu_us,
        redis_turns=BUSY_SHARE * case.core * 1e6 / model.turn_redis_cpu_us,
    )


def first_limit(it: Capacity, *, sessions: float, turns: float) -> str:
    """Say what runs out first when all that is wanted grows together."""
    shares = {
        "memory of Redis": sessions / it.sessions if it.sessions else math.inf,
        "CPU of the dyno": turns / it.dyno_turns,
        "CPU of Redis": turns / it.redis_turns,
    }
    name = max(shares, key=shares.__getitem__)
    return f"{name}, at {shares[name]:.0%} of what it holds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What so many sessions need."""

    turns: float
    dynos: int
    shards: int
    redis_bytes: float


def deployment(model: Model, case: Case, *, sessions: int, turns: float) -> Deployment:
    """Compute dynos and shards: shards for the bytes or for the CPU, whichever needs more."""
    one = capacity(model, case)
    stored = sessions * one.session_bytes
    by_bytes = math.ceil(stored / (SHARD_MB * MIB * REDIS_SHARE))
    return Deployment(
        turns=turns,
        dynos=max(1, math.ceil(turns / one.dyno_turns)),
        shards=max(1, by_bytes, math.ceil(turns / one.redis_turns)),
        redis_bytes=stored,
    )


def table(model: Model, case: Case) -> str:
    """Write the README's table: dyno x Redis plan."""
    lines = [
        "| dyno | Redis | sessions | messages | in memory | turns/s |",
        "|---|---|---|---|---|---|",
    ]
    for dyno, quota_mb in DYNOS:
        for redis_mb in PLANS_MB:
            it = capacity(
                model,
                Case(
                    quota_mb=quota_mb,
                    redis_mb=redis_mb,
                    messages=case.messages,
                    message_bytes=case.message_bytes,
                    core=case.core,
                ),
            )
            hot = min(1.0, it.hot_sessions / max(1, it.sessions))
            turns = min(it.dyno_turns, it.redis_turns)
            lines.append(
                f"| {dyno} ({quota_mb:,} MB) | {redis_mb:,} MB | {it.sessions:,} | {it.messages:,} "
                f"| {hot:.0%} | {turns:,.0f} |"
            )
    return "\n".join(lines)


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/capacity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quota-mb", type=float, default=512, help="of a dyno (512)")
    parser.add_argument("--redis-mb", type=float, default=25, help="of Redis (25)")
    parser.add_argument("--messages-per-session", type=float, default=100, help="kept (100)")
    parser.add_argument("--bytes-per-message", type=float, default=150, help="of its JSON (150)")
    parser.add_argument("--turns-per-second", type=float, help="at the peak; see --turns-per-day")
    parser.add_argument("--turns-per-day", type=float, default=10, help="of one session (10)")
    parser.add_argument("--peak", type=float, default=3, help="peak / mean of a day (3)")
    parser.add_argument("--sessions", type=int, help="wanted: tells dynos and shards")
    parser.add_argument("--core", type=float, default=1.0, help="your core / the measured one (1)")
    parser.add_argument("--table", action="store_true", help="print the README's table")
    parser.add_argument("--data", type=Path, default=DATA, help="figures (docs/performance.json)")
    return parser.parse_args(words)


def answer(model: Model, arguments: argparse.Namespace) -> str:
    """Compute what was asked."""
    case = Case(
        quota_mb=arguments.quota_mb,
        redis_mb=arguments.redis_mb,
        messages=arguments.messages_per_session,
        message_bytes=arguments.bytes_per_message,
        core=arguments.core,
    )
    if arguments.table:
        return table(model, case)
    one = capacity(model, case)
    sessions = arguments.sessions or one.sessions
    usual = sessions * arguments.turns_per_day / DAY_SECONDS * arguments.peak
    turns = arguments.turns_per_second or usual
    if arguments.sessions:
        return _deployment_text(deployment(model, case, sessions=sessions, turns=turns), case)
    return _capacity_text(one, first_limit(one, sessions=sessions, turns=turns), turns)


def _capacity_text(it: Capacity, limit: str, turns: float) -> str:
    return (
        f"a session      {it.session_bytes:,.0f} B in Redis\n"
        f"sessions       {it.sessions:,} ({it.messages:,} messages) at {REDIS_SHARE:.0%} of Redis\n"
        f"in memory      {it.hot_sessions:,} sessions in the hot tier\n"
        f"turns/s        {it.dyno_turns:,.0f} by the dyno, {it.redis_turns:,.0f} by Redis, "
        f"each at {BUSY_SHARE:.0%} of a core\n"
        f"at {turns:,.1f} turns/s what runs out first: {limit}"
    )


def _deployment_text(it: Deployment, case: Case) -> str:
    return (
        f"turns/s        {it.turns:,.0f} at the peak\n"
        f"dynos          {it.dynos:,} of {case.quota_mb:,.0f} MB\n"
        f"Redis          {it.redis_bytes / 2**30:,.1f} GiB in {it.shards:,} shards of "
        f"{SHARD_MB // 1_024} GiB"
    )


def main() -> int:
    """Print the answer; 2 if there are no figures."""
    arguments = parse_arguments()
    try:
        model = read_model(json.loads(arguments.data.read_text()))
    except (OSError, ValueError, CapacityError) as error:
        print(f"scripts/capacity: {error}", file=sys.stderr)
        return 2
    print(answer(model, arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
