"""Plays a log again: first what nobody else is needed for, then together with others.

What is there already is known by its revision, so playing too much changes nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from service.codec import Header
from service.errors import StoreFull
from service.model import SessionRef
from service.store.arguments import new_gen
from service.store.keys import backup_key, gone_key, session_keys, staged_key
from service.store.link import Link
from service.store.replay.known import Known
from service.store.replay.log import (
    RENEWAL,
    Entry,
    ReplayLog,
    compress,
    decompress,
    pack_entry,
    unpack_entries,
)
from service.store.replay.rounds import KEPT_MS
from service.store.scan import describe
from service.store.scripts import replay_of, script

AT_ONCE, AT_ONCE_BYTES = 256, 262_144
"""Entries that are on their way at the same time, and of how many bytes together."""

LOOKED_AT_ONCE = 200
"""Entries of the log: about a millisecond of the event loop."""

SESSIONS_AT_ONCE = 16
DESCRIBED_AT_ONCE = 1_000
DESCRIBED_BY_CALL = 100

_PLAYED = b"ok"
_FAILED = frozenset((b"gap", b"other", b"absent", b"full"))


class _Staged(NamedTuple):
    """An entry that others can see, too."""

    entry: Entry
    is_mine: bool


class Player:
    """One replay of a log over one link. Every method may raise ServiceError."""

    def __init__(self, link: Link, log: ReplayLog, process_id: str) -> None:
        """Play `log` through `link`; `process_id` tells its entries from those of others."""
        self._link = link
        self._log = log
        self._id = process_id.encode()
        self._missing: dict[SessionRef, Known] = {}
        self._headers: dict[SessionRef, Header] = {}
        self._stuck: set[SessionRef] = set()
        self._over: Sequence[SessionRef] = ()
        self.sessions = self.replayed = self.lost = 0

    async def look(self) -> None:
        """Find out which sessions Redis does not have as they were told."""
        known: dict[SessionRef, Known] = defaultdict(Known)
        async for entries in self._portions(lambda entry: entry.rev > 0):
            for entry in entries:
                known[entry.ref].hear(entry)
        refs = list(known)
        for first in range(0, len(refs), DESCRIBED_AT_ONCE):
            page = refs[first : first + DESCRIBED_AT_ONCE]
            found = await describe(self._link, page, DESCRIBED_BY_CALL)
            self._compare(page, known, {each.ref: each.header for each in found})

    def _compare(
        self,
        refs: Sequence[SessionRef],
        known: dict[SessionRef, Known],
        headers: dict[SessionRef, Header],
    ) -> None:
        for ref in refs:
            header = headers.get(ref)
            self.lost += known[ref].is_contradicted(header)
            is_there = known[ref].is_there(header)
            self.sessions += not is_there
            # Others may be about to bring back what was deleted here.
            if not is_there or known[ref].is_deleted:
                self._missing[ref] = known[ref]
                if header is not None:
                    self._headers[ref] = header

    async def play_alone(self) -> None:
        """Play what follows what is there, and find out where writes of others are needed."""
        async for entries in self._portions(self._is_due):
            outcomes = await self._play(entries)
            for entry, outcome in zip(entries, outcomes, strict=True):
                if outcome in _FAILED:
                    self._stuck.add(entry.ref)

    async def stage(self) -> None:
        """Put what could not be played where all can see it."""
        async for entries in self._portions(self._is_stuck):
            by_session: dict[SessionRef, list[Entry]] = defaultdict(list)
            for entry in entries:
                by_session[entry.ref].append(entry)
            await asyncio.gather(*(self._stage(*each) for each in by_session.items()))

    async def play_together(self) -> None:
        """Play what all have staged of those sessions, each revision by whoever comes first."""
        refs = list(self._stuck)
        for first in range(0, len(refs), SESSIONS_AT_ONCE):
            part = refs[first : first + SESSIONS_AT_ONCE]
            await asyncio.gather(*(self._play_staged(ref) for ref in part))

    async def settle(self) -> None:
        """Give what was missing the life that it was told to have."""
        due = [ref for ref, known in self._missing.items() if not known.is_deleted]
        self._over = await self._settle_all(due, is_last=False)

    async def end_what_is_over(self) -> None:
        """End sessions whose time is over, when all have told how they were renewed."""
        await self._settle_all(self._over, is_last=True)

    async def clear(self) -> None:
        """Take away what was there for the time of the replay."""
        keys = [staged_key(ref) for ref in self._stuck]
        keys += [gone_key(ref) for ref, known in self._missing.items() if known.has_deleted]
        for first in range(0, len(keys), AT_ONCE):
            part = keys[first : first + AT_ONCE]
            await asyncio.gather(*(self._link.command("UNLINK", key, aim=key) for key in part))

    async def _portions(self, is_wanted: Callable[[Entry], bool]) -> AsyncIterator[Sequence[Entry]]:
        """Divide entries of the log into what may be on its way at the same time."""
        part: list[Entry] = []
        size = 0
        for number, entry in enumerate(self._log.entries()):
            if number % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)  # others have their turn, too
            if not is_wanted(entry):
                continue
            part.append(entry)
            size += sum(len(each) for each in entry.args if isinstance(each, bytes))
            if len(part) >= AT_ONCE or size >= AT_ONCE_BYTES:
                yield part
                part, size = [], 0
        if part:
            yield part

    def _is_due(self, entry: Entry) -> bool:
        if entry.ref in self._stuck or not entry.rev or not self._is_wanted(entry):
            return False
        header = self._headers.get(entry.ref)
        return header is None or header.gen != entry.gen or entry.follows >= header.rev

    def _is_stuck(self, entry: Entry) -> bool:
        return entry.ref in self._stuck and self._is_wanted(entry)

    def _is_wanted(self, entry: Entry) -> bool:
        """Whether an entry is of the last life of a session that is missing, or has ended one.

        Former lives have ended, if not by a deletion then because their time was over.
        """
        known = self._missing.get(entry.ref)
        if known is None or entry.name == RENEWAL:
            return False
        return entry.name == "delete" or (entry.gen in {known.gen, ""} and not known.is_deleted)

    async def _play(self, entries: Sequence[Entry]) -> list[bytes]:
        outcomes = await asyncio.gather(
            *(self._play_one(entry, entry.follows) for entry in entries)
        )
        return [outcome for outcome, _ in outcomes]

    async def _play_one(self, entry: Entry, follows: int, gen: str = "") -> tuple[bytes, int]:
        """Return the outcome, and at which revision the session is if that is why it failed."""
        args = [gen or entry.gen, *entry.args[1:]]
        keys = (*session_keys(entry.ref), gone_key(entry.ref), backup_key(entry.ref))
        try:
            reply = await self._link.run(replay_of(entry.name), keys, [*args, follows, entry.at_ms])
        except StoreFull:
            return b"full", 0
        self.replayed += reply[0] == _PLAYED
        return reply[0], reply[1] if reply[0] == b"gap" else 0

    async def _stage(self, ref: SessionRef, entries: Iterable[Entry]) -> None:
        key, data = staged_key(ref), b"".join(map(pack_entry, entries))
        await self._link.command("RPUSH", key, self._id + compress(data), aim=key)
        await self._link.command("PEXPIRE", key, KEPT_MS, aim=key)

    async def _staged(self, ref: SessionRef) -> list[_Staged]:
        key = staged_key(ref)
        reply = await self._link.command("LRANGE", key, 0, -1, aim=key)
        size = len(self._id)
        return [
            _Staged(entry, is_mine=blob[:size] == self._id)
            for blob in (reply if isinstance(reply, list) else [])
            for entry in unpack_entries(decompress(blob[size:]))
        ]

    async def _play_staged(self, ref: SessionRef) -> None:
        staged = await self._staged(ref)
        unsure = sorted((each.entry for each in staged if not each.entry.rev), key=_at)
        for gen, lives in _lives(each for each in staged if each.entry.rev):
            self.lost += await self._play_life(gen, lives, unsure)

    async def _play_life(self, gen: str, staged: list[_Staged], unsure: list[Entry]) -> int:
        """Play the writes of a session of one gen, in order; return how many of ours are lost.

        Where a revision is missing, a write may have led to it whose outcome nobody was told.
        """
        while True:
            gap, lost = await self._play_in_order(staged)
            if gap is None or not unsure:
                return lost
            await self._play_one(unsure.pop(0), gap, gen)

    async def _play_in_order(self, staged: list[_Staged]) -> tuple[int | None, int]:
        """Return the revision behind which something is missing, and how many of ours are lost."""
        gap, lost = None, 0
        for first in range(0, len(staged), AT_ONCE):
            part = staged[first : first + AT_ONCE]
            calls = (self._play_one(each.entry, each.entry.follows) for each in part)
            for each, (outcome, rev) in zip(part, await asyncio.gather(*calls), strict=True):
                if outcome not in _FAILED:
                    continue
                lost += each.is_mine and each.entry.has_changed
                if gap is None and outcome == b"gap":
                    gap = rev
        return gap, lost

    async def _settle_all(
        self, refs: Sequence[SessionRef], *, is_last: bool
    ) -> Sequence[SessionRef]:
        """Return those whose time is over."""
        over: list[SessionRef] = []
        for first in range(0, len(refs), AT_ONCE):
            part = refs[first : first + AT_ONCE]
            ends = await asyncio.gather(*(self._settle(ref, is_last=is_last) for ref in part))
            over += [ref for ref, is_over in zip(part, ends, strict=True) if is_over]
        return over

    async def _settle(self, ref: SessionRef, *, is_last: bool) -> bool:
        known = self._missing[ref]
        args = (known.gen, known.rev, known.renewed_ms, new_gen(), int(is_last))
        reply = await self._link.run(script("settle"), session_keys(ref), args)
        return reply == [_PLAYED, 1]


def _lives(staged: Iterable[_Staged]) -> Iterator[tuple[str, list[_Staged]]]:
    """Yield the writes of each gen in the order of their revisions, the oldest gen first."""
    ordered = sorted(staged, key=_place)
    lives = [(gen, list(life)) for gen, life in groupby(ordered, key=lambda each: each.entry.gen)]
    lives.sort(key=lambda life: min(map(_at, (each.entry for each in life[1]))))
    yield from lives


def _place(staged: _Staged) -> tuple[str, int, int]:
    """Where an entry stands among those of its session: what changed nothing comes behind."""
    entry = staged.entry
    return entry.gen, entry.rev, entry.follows


def _at(entry: Entry) -> int:
    return entry.at_ms
