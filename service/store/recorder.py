"""Tells the replay log what was written, as it was written."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from service.codec import Header, unpack_header
from service.model import SessionRef, Touch, View
from service.store.arguments import (
    CALL_KEY,
    GEN,
    remember_arguments,
    replayed_arguments,
)
from service.store.link import Argument, Reply
from service.store.replay.log import RENEWAL, RESOLVED, UNKEPT, Entry, ReplayLog
from service.store.replies import OWN

_REMEMBERED = 5
"""Parts of a refusal that is remembered (mutation.lua)."""

_OK = 0
_ENDINGS = {"append": 3, "remove": 2, "write_state": 2}
"""How much of what they answer themselves is remembered, of the scripts that take keyed calls."""


class _Call(NamedTuple):
    """A call of a script."""

    name: str
    ref: SessionRef
    args: Sequence[Argument]


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
        call = _Call(name, ref, args)
        if reply[0] != b"ok":
            return len(reply) < _REMEMBERED or self._refused(call, reply)
        if name == "delete":
            return self._deleted(call, reply[1], reply[2])
        header = unpack_header(reply[2])
        self._latest_ms, has_changed, replayed_rev = reply[1], reply[4], reply[5]
        if replayed_rev:
            return self._repeated(call, header, replayed_rev)
        if not has_changed:
            return self._changed_nothing(call, header, reply)
        return self._changed(_entry_of(call, header, header.rev, reply[1]))

    def unsure(self, name: str, ref: SessionRef, args: Sequence[Argument]) -> None:
        """Keep a call of which nobody knows whether it was applied."""
        if self._log.budget_bytes:
            again = replayed_arguments(name, "", args)
            self._log.add(Entry.of(ref, name=name, at_ms=self._latest_ms, args=again))

    def read(self, ref: SessionRef, view: View | None) -> None:
        """Keep that a read has renewed a session."""
        if view is None or view.session.touch is not Touch.ACCESS or not self._log.budget_bytes:
            return
        session, etag = view.session, view.session.etag
        if session.renewed_at_ms == view.now_ms:
            self._renewed(ref, etag.gen, etag.rev, view.now_ms, session.expires_at_ms or 0)

    def _changed(self, entry: Entry) -> bool:
        if entry.name == "restore" and entry.rev > 1:
            # It went on with another gen: no replay could tell what it followed.
            entry = replace(entry, name=UNKEPT, args=())
        return self._log.add(entry) and entry.name != UNKEPT

    def _repeated(self, call: _Call, header: Header, rev: int) -> bool:
        """Keep what became of a call whose first answer was lost, or went to another process.

        That one is in the log, as a call of unknown outcome, or in the log of the other.
        """
        told_ms = header.created_at + header.updated_after if rev == header.rev else 0
        entry = Entry.of(
            call.ref,
            name=RESOLVED,
            gen=header.gen,
            rev=rev,
            at_ms=told_ms,
            updated_ms=told_ms,
            renewed_ms=header.created_at + header.renewed_after,
            ends_ms=_ends_ms(header),
            args=(call.args[CALL_KEY],),
        )
        return self._log.add(entry)

    def _changed_nothing(self, call: _Call, header: Header, reply: Reply) -> bool:
        """Keep what a call has renewed, and how it ended if it will be remembered."""
        now_ms, is_kept = reply[1], True
        if header.created_at + header.renewed_after == now_ms:
            is_kept = self._renewed(
                call.ref, header.gen, header.rev, now_ms, ends_ms=_ends_ms(header)
            )
        if call.args[CALL_KEY]:
            own = reply[OWN : OWN + _ENDINGS[call.name]]
            again = remember_arguments(header.gen, call.args, (_OK, *own))
            return self._remembered(call.ref, header.rev, now_ms, again)
        return is_kept

    def _renewed(self, ref: SessionRef, gen: str, rev: int, now_ms: int, ends_ms: int) -> bool:
        entry = Entry.of(
            ref, name=RENEWAL, gen=gen, rev=rev, at_ms=now_ms, renewed_ms=now_ms, ends_ms=ends_ms
        )
        return self._log.add(entry)

    def _deleted(self, call: _Call, tag: bytes, now_ms: int) -> bool:
        gen, _, rev = tag.decode().rpartition("-")
        if not gen:
            return True  # there was nothing
        again = replayed_arguments("delete", gen, call.args)
        return self._log.add(
            Entry.of(call.ref, name="delete", gen=gen, rev=int(rev) + 1, at_ms=now_ms, args=again)
        )

    def _refused(self, call: _Call, reply: Reply) -> bool:
        """Keep a refusal that the session remembers, so that its repetition is refused as well."""
        outcome, detail, _, tag, now_ms = reply
        gen, _, rev = tag.decode().rpartition("-")
        again = remember_arguments(gen, call.args, (outcome.decode(), detail.decode()))
        return self._remembered(call.ref, int(rev), now_ms, again)

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


def _entry_of(call: _Call, header: Header, rev: int, at_ms: int) -> Entry:
    """Return the entry of a call that has led to a revision."""
    return Entry.of(
        call.ref,
        name=call.name,
        gen=header.gen,
        rev=rev,
        at_ms=at_ms,
        updated_ms=header.created_at + header.updated_after if rev == header.rev else 0,
        renewed_ms=header.created_at + header.renewed_after,
        ends_ms=_ends_ms(header),
        args=replayed_arguments(call.name, header.gen, call.args),
    )


def _ends_ms(header: Header) -> int:
    """Return when a session ends by itself, 0 for never."""
    ends = []
    if header.ttl:
        ends.append(header.created_at + header.renewed_after + header.ttl)
    if header.max_age:
        ends.append(header.created_at + header.max_age)
    return min(ends, default=0)
