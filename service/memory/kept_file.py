"""A file of the kernel that is read ten times a second: its descriptor is kept open."""

import contextlib
import os
from pathlib import Path
from typing import Self

READ_BYTES = 8_192
NEWLINE = ord("\n")
# Longer than any number of bytes with the blanks before it, so that little is split.
NUMBER_BYTES = 32


class KeptFile:
    """Reads a small file of /proc or of a control group: 1 to 7 us, mostly the kernel's own work.

    The kernel makes the text anew at each read from offset 0.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> bytes:
        """Read the whole text; opens the file again if the descriptor went bad."""
        try:
            return os.pread(self._descriptor, READ_BYTES, 0)
        except OSError:
            self._reopen()
            return os.pread(self._descriptor, READ_BYTES, 0)

    def close(self) -> None:
        """Give the descriptor back; closing twice is harmless."""
        descriptor, self._descriptor = self._descriptor, -1
        # It may have gone bad already, which is the reason for closing it.
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reopen(self) -> None:
        self.close()
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)


def number_after(label: bytes, text: bytes) -> int | None:
    """Find the number that follows `label` at the beginning of a line; None = no such line."""
    start = text.find(label)
    while start > 0 and text[start - 1] != NEWLINE:
        start = text.find(label, start + 1)
    if start < 0:
        return None
    start += len(label)
    return int(text[start : start + NUMBER_BYTES].split(None, 1)[0])


def required_number(label: bytes, text: bytes) -> int:
    """Find a number without which there is no reading. Raises ValueError."""
    number = number_after(label, text)
    if number is None:
        raise ValueError(f"no line {label.decode()!r} in a file of the kernel")
    return number
