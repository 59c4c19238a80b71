"""Tells the replay log what was written, as it was written."""

from collections.abc import Sequence

from service.codec import unpack_header
from service.model import SessionRef, Touch, View
from service.store.arguments import replayed_arguments
from service.store.link import Argument, Reply
from service.store.replay.log import RENEWAL, Entry, ReplayLog


class Recorder:
    """Makes entries of the calls of mutations and of their replies."""

    def __init__(self, log: ReplayLog) -> None:
        """Add them to `log`, unless it keeps nothing."""
        self._log = log
        self._latest_ms = 0

    def wrote(self, name: str, ref: SessionRef, args: Sequence[Argument], reply: Reply) -> bool:
        """Keep a call that has changed something; False if it could not be kept."""
        if not self._log.budget_bytes:
            return False
        if reply[0] != b"ok":
            return True  # nothing was changed
        if name == "delete":
            return self._deleted(ref, args, reply[1], reply[2])
        _, now_ms, packed, _, has_changed, replayed_rev, *_ = reply
        self._latest_ms = now_ms
        header = unpack_header(packed)
        renewed_ms = header.created_at + header.renewed_after
        if not has_changed or replayed_rev:
            return renewed_ms != now_ms or self._renewed(ref, header.gen, header.rev, now_ms)
        return self._log.add(
            Entry.of(
                ref,
                name=name,
                gen=header.gen,
                rev=header.rev,
                at_ms=now_ms,
                updated_ms=header.created_at + header.updated_after,
                renewed_ms=renewed_ms,
                args=replayed_arguments(name, header.gen, args),
            )
        )

    def unsure(self, name: str, ref: SessionRef, args: Sequence[Argument]) -> None:
        """Keep a call of which nobody knows whether it was applied."""
        if self._log.budget_bytes:
            again = replayed_arguments(name, "", args)
            self._log.add(Entry.of(ref, name=name, at_ms=self._latest_ms, args=again))

    def read(self, ref: SessionRef, view: View) -> None:
        """Keep that a read has renewed a session."""
        session = view.session
        is_renewed = session.touch is Touch.ACCESS and session.renewed_at_ms == view.now_ms
        if is_renewed and self._log.budget_bytes:
            self._renewed(ref, session.etag.gen, session.etag.rev, view.now_ms)

    def _renewed(self, ref: SessionRef, gen: str, rev: int, now_ms: int) -> bool:
        entry = Entry.of(ref, name=RENEWAL, gen=gen, rev=rev, at_ms=now_ms, renewed_ms=now_ms)
        return self._log.add(entry)

    def _deleted(self, ref: SessionRef, args: Sequence[Argument], tag: bytes, now_ms: int) -> bool:
        gen, _, rev = tag.decode().rpartition("-")
        if not gen:
            return True  # there was nothing
        again = replayed_arguments("delete", gen, args)
        entry = Entry.of(ref, name="delete", gen=gen, rev=int(rev) + 1, at_ms=now_ms, args=again)
        return self._log.add(entry)
