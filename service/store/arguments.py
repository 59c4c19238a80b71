"""The arguments of the scripts, in the order in which the scripts read them."""

import secrets
from dataclasses import dataclass

from service.model import Conditions, Limits, Reading, SettingsChange, StatePart
from service.store.link import Argument

_GEN_BYTES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Settings of a session that nobody named; 0 ms = never."""

    ttl_ms: int
    max_messages: int
    dedupe_window: int


def mutation_arguments(
    change: SettingsChange, conditions: Conditions, defaults: Defaults
) -> list[Argument]:
    """Return ARGV[1..9] of `mutation.lua`."""
    return [
        secrets.token_urlsafe(_GEN_BYTES),
        _tags(conditions.if_match),
        _tags(conditions.if_none_match),
        defaults.ttl_ms,
        defaults.max_messages,
        _named(change.ttl_ms),
        _named(change.max_messages),
        _named(change.touch),
        _named(change.max_age_ms),
    ]


def reading_arguments(reading: Reading, known: str, limits: Limits) -> list[Argument]:
    """Return ARGV of `read.lua`."""
    window = reading.window
    messages: list[Argument] = ["none", 0, "", "", ""]
    if window is not None:
        messages = [
            "newest" if window.newest else "oldest",
            window.limit,
            _named(window.after),
            _named(window.before),
            _named(window.since_ms),
        ]
    some = reading.keys if reading.state is StatePart.SOME else ()
    args: list[Argument] = [known, limits.max_answer_bytes, *messages]
    return [*args, reading.state, limits.max_keys_per_call, *some]


def _tags(tags: tuple[str, ...] | None) -> str:
    if tags is None:
        return ""
    return "*" if tags == ("*",) else f" {' '.join(tags)} "


def _named(value: str | int | None) -> str | int:
    return "" if value is None else value
