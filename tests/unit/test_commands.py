"""Commands in pieces are the commands that hiredis writes."""

from hiredis import pack_command
from hypothesis import given
from hypothesis import strategies as st

from service.store.commands import LONG_BYTES, Word, pack

LONG = b"x" * LONG_BYTES
WORDS = st.binary(max_size=9) | st.text(max_size=9) | st.integers() | st.just(LONG)


@given(st.lists(WORDS, min_size=1, max_size=9).map(tuple))
def test_the_pieces_are_the_command(command: tuple[Word, ...]) -> None:
    pieces = pack(command)

    assert b"".join(pieces) == pack_command(command)  # type: ignore[arg-type] # typed for one word
    assert (len(pieces) > 1) == (LONG in command)


def test_what_is_long_is_not_copied() -> None:
    assert any(piece is LONG for piece in pack((b"SET", b"key", LONG)))
