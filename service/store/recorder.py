"""Tells the replay log what was written, as it was written."""

from collections.abc import Sequence

from service.codec import Header, unpack_header
from service.model import SessionRef, Touch, View
from service.store.arguments import CALL_KEY, GEN, remember_arguments, replayed_arguments
from service.store.link import Argument, Reply
from service.store.replay.log import RENEWAL, Entry, ReplayLog
from service.store.replies import OWN

_REMEMBERED = 5
"""Parts of a refusal that is remembered (mutation.lua)."""

_OK = 0
_ENDINGS = {"append": 3, "remove": 2, "write_state": 2}
"""How much of what they answer themselves is remembered, of the scripts that take keyed calls."""


class Recorder:
    """Makes entries of the calls of mutations and of their replies."""

    def __init__(self, log: ReplayLog) -> None:
        """Add them to `log`, unless it keeps nothing."""
        self._log = log
        self._latest_ms = 0

    def wrote(self, name: str, ref: SessionRef, args: Sequence[Argument], reply: Reply) -> bool:
        """Keep a call that has changed something, or is remembered; False if that failed."""
        if not self._log.budget_bytes:
            return False
        if reply[0] != b"ok":
            return len(reply) < _REMEMBERED or self._refused(ref, args, reply)
        if name == "delete":
            return self._deleted(ref, args, reply[1], reply[2])
        header = unpack_header(reply[2])
        self._latest_ms, has_changed, replayed_rev = reply[1], reply[4], reply[5]
        if name == "restore" and header.rev > 1:
            return False  # it went on with another gen: no replay could tell what it followed
        if replayed_rev or not has_changed:
            return self._changed_nothing(name, ref, header, args, reply)
        return self._log.add(
            Entry.of(
                ref,
                name=name,
                gen=header.gen,
                rev=header.rev,
                at_ms=self._latest_ms,
                updated_ms=header.created_at + header.updated_after,
                renewed_ms=header.created_at + header.renewed_after,
                args=replayed_arguments(name, header.gen, args),
            )
        )

    def unsure(self, name: str, ref: SessionRef, args: Sequence[Argument]) -> None:
        """Keep a call of which nobody knows whether it was applied."""
        if self._log.budget_bytes:
            again = replayed_arguments(name, "", args)
            self._log.add(Entry.of(ref, name=name, at_ms=self._latest_ms, args=again))

    def read(self, ref: SessionRef, view: View | None) -> None:
        """Keep that a read has renewed a session."""
        if view is None:
            return
        session = view.session
        is_renewed = session.touch is Touch.ACCESS and session.renewed_at_ms == view.now_ms
        if is_renewed and self._log.budget_bytes:
            self._renewed(ref, session.etag.gen, session.etag.rev, view.now_ms)

    def _changed_nothing(
        self, name: str, ref: SessionRef, header: Header, args: Sequence[Argument], reply: Reply
    ) -> bool:
        """Keep what a call has renewed, and how it ended if it will be remembered."""
        now_ms, replayed_rev, own = reply[1], reply[5], reply[OWN:]
        is_kept = True
        if header.created_at + header.renewed_after == now_ms:
            is_kept = self._renewed(ref, header.gen, header.rev, now_ms)
        if args[CALL_KEY] and not replayed_rev:
            again = remember_arguments(header.gen, args, (_OK, *own[: _ENDINGS[name]]))
            return self._remembered(ref, header.rev, now_ms, again)
        return is_kept

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

    def _refused(self, ref: SessionRef, args: Sequence[Argument], reply: Reply) -> bool:
        """Keep a refusal that the session remembers, so that its repetition is refused as well."""
        outcome, detail, _, tag, now_ms = reply
        gen, _, rev = tag.decode().rpartition("-")
        again = remember_arguments(gen, args, (outcome.decode(), detail.decode()))
        return self._remembered(ref, int(rev), now_ms, again)

    def _remembered(
        self, ref: SessionRef, rev: int, now_ms: int, again: Sequence[Argument]
    ) -> bool:
        entry = Entry.of(
            ref,
            name="remember",
            gen=str(again[GEN]),
            rev=rev,
            at_ms=now_ms,
            has_changed=False,
            args=again,
        )
        return self._log.add(entry)
