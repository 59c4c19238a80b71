"""Commands as Redis reads them, without a copy of what is long."""

from collections.abc import Callable, Sequence
from typing import cast

from hiredis import pack_command

LONG_BYTES = 65_536
"""An argument from here on stays the object that it is; a copy of less costs less than a piece."""

Word = bytes | str | int

# hiredis types it for commands of one word.
_pack = cast("Callable[[tuple[Word, ...]], bytes]", pack_command)
_ONE_WORD = len(b"*1\r\n")


def pack(command: tuple[Word, ...]) -> Sequence[bytes]:
    """Return the pieces of a command: one if nothing in it is long."""
    if [word for word in command if word.__class__ is bytes and len(word) >= LONG_BYTES]:
        return [b"*%d\r\n" % len(command), *(piece for word in command for piece in _pieces(word))]
    return (_pack(command),)


def _pieces(word: Word) -> Sequence[bytes]:
    if isinstance(word, bytes) and len(word) >= LONG_BYTES:
        return b"$%d\r\n" % len(word), word, b"\r\n"
    return (_pack((word,))[_ONE_WORD:],)
