"""The header lines of a request, found by their names."""

from collections import defaultdict
from collections.abc import Sequence

Line = tuple[bytes, bytes]
"""A name in lower case and a value, as ASGI has them."""


class Headers(dict[bytes, bytes]):
    """Values by names; lines of one name are one value, with commas (RFC 9110, 5.3)."""

    __slots__ = ("repeated",)

    def __init__(self, lines: Sequence[Line]) -> None:
        """Take the lines as they came; `repeated` are the names that came more than once."""
        super().__init__(lines)
        self.repeated: frozenset[bytes] = _NONE
        if len(self) < len(lines):
            self._join(lines)

    def text(self, name: bytes) -> str:
        """Return a value as text, "" if the header was not sent."""
        return self.get(name, b"").decode("latin-1")

    def _join(self, lines: Sequence[Line]) -> None:
        values = defaultdict(list)
        for name, value in lines:
            values[name].append(value)
        self.update((name, b", ".join(each)) for name, each in values.items())
        self.repeated = frozenset(name for name, each in values.items() if len(each) > 1)


_NONE: frozenset[bytes] = frozenset()
