"""Texts of variables to typed values; what is wrong is collected, and told without the value."""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

Choice = TypeVar("Choice", bound=StrEnum)

WORDS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


class Variables:
    """Reads one variable at a time and goes on after a fault, so that all are told at once.

    A faulty variable yields a stand-in; whoever reads must look at `faults` before it is used.
    """

    def __init__(self, texts: Mapping[str, str], aliases: Mapping[str, str]) -> None:
        self._texts = texts
        self._aliases = aliases
        self.faults: dict[str, str] = {}

    def refuse(self, name: str, rule: str) -> None:
        """Note that a variable breaks a rule; the rule is told, the value never."""
        alias = self._aliases.get(name)
        self.faults[name] = f"{name} (or {alias}) {rule}" if alias else f"{name} {rule}"

    def text(self, name: str) -> str:
        """Read a text without the blanks around it; empty = not set."""
        return self._texts.get(name, "").strip()

    def whole(self, name: str, low: int, high: int, unit: str) -> int:
        """Read a whole number from `low` to `high`."""
        text = self.text(name)
        if re.fullmatch(r"[0-9]{1,18}", text) and low <= int(text) <= high:
            return int(text)
        self.refuse(name, f"must be a whole number from {low} to {high} ({unit})")
        return low

    def whole_or_none(self, name: str, low: int, high: int, unit: str) -> int | None:
        """Read a whole number; None where nothing is set."""
        return self.whole(name, low, high, unit) if self.text(name) else None

    def seconds(self, name: str, high: int) -> float:
        """Read seconds in steps of a millisecond."""
        text = self.text(name)
        if re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,3})?", text) and float(text) <= high:
            return float(text)
        self.refuse(name, f"must be from 0 to {high} in steps of 0.001 (seconds)")
        return 0.0

    def switch(self, name: str) -> bool:
        """Read a switch; any other word is refused, because a typo must not turn it."""
        word = self.text(name).lower()
        if word not in WORDS:
            self.refuse(name, "must be true, 1, yes or on; or false, 0, no or off")
        return WORDS.get(word, False)

    def choice(self, name: str, choices: type[Choice]) -> Choice:
        """Read one of the words of an enumeration, in any case."""
        try:
            return choices(self.text(name).lower())
        except ValueError:
            self.refuse(name, f"must be one of {', '.join(choices)}")
            return next(iter(choices))

    def choices(self, name: str, choices: type[Choice]) -> frozenset[Choice]:
        """Read words of an enumeration, separated by commas; none where nothing is set."""
        words = frozenset(filter(None, map(str.strip, self.text(name).lower().split(","))))
        if not words <= set(choices):
            self.refuse(name, f"must be of {', '.join(choices)}, separated by commas")
        return frozenset(choice for choice in choices if choice in words)

    def host(self, name: str, default: str) -> str:
        """Read an address or a host name; `default` where nothing is set."""
        host = self.text(name) or default
        if not re.fullmatch(r"[A-Za-z0-9._:%-]{1,253}", host):
            self.refuse(name, "must be an IP address or a host name")
        return host

    def file(self, name: str) -> Path | None:
        """Read the path of a file that is there; None where nothing is set."""
        path = Path(self.text(name)) if self.text(name) else None
        if path is not None and not path.is_file():
            self.refuse(name, "must be the path of a file that exists")
        return path
