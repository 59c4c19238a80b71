"""What Redis tells of keys that change, on a channel that has asked for it (client tracking)."""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from service.store.channel import CALL_SECONDS, Call, Channel
from service.store.commands import pack
from service.store.keys import PREFIX

TRUST_SECONDS = 3.0
"""How long a channel may be silent: one that leads nowhere must not keep old entries alive."""

_HELLO = pack((b"HELLO", b"3"))
_TRACK = pack((b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", PREFIX))

OnInvalidated = Callable[[Sequence[bytes] | None], None]
"""Is told the keys that have changed; None = any may have."""


class Tracking:
    """The listener of a channel that hears of changes if Redis lets it, else only of replies."""

    def __init__(self, on_invalidated: OnInvalidated) -> None:
        """Tell `on_invalidated`, at once and in the order among the replies."""
        self._tell = on_invalidated
        self._channel: Channel | None = None

    @property
    def is_on(self) -> bool:
        """Whether every change is told: accepted, open, and not silent for long."""
        if self._channel is None or self._channel.is_lost:
            return False
        now = asyncio.get_running_loop().time()
        return now - self._channel.heard_at < TRUST_SECONDS

    def greeting(self, channel: Channel) -> Sequence[Call]:
        """Ask for RESP3 and for tracking; either may be refused."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CALL_SECONDS
        hello, track = (
            Call(packed, is_repeatable=True, deadline=deadline, reply=loop.create_future())
            for packed in (_HELLO, _TRACK)
        )
        track.reply.add_done_callback(lambda _: self._begin(channel, hello, track))
        return hello, track

    def pushed(self, message: Sequence[object]) -> None:
        """Pass the keys on."""
        if message[0] == b"invalidate":
            self._tell(cast("Sequence[bytes] | None", message[1]))

    def ended(self) -> None:
        """Tell that changes may go unheard from now on."""
        self._tell(None)

    def _begin(self, channel: Channel, *greeting: Call) -> None:
        # RESP2 takes the command for tracking too, and then tells nothing.
        if {call.reply.exception() for call in greeting} == {None}:
            self._channel = channel
        # What was read before nobody has watched.
        self._tell(None)
