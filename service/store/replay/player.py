"""Plays a log again: first what nobody else is needed for, then together with others.

What is there already is known by its revision, so playing too much changes nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TypeVar

from service.codec import Header
from service.errors import StoreFull, Unavailable
from service.model import SessionRef
from service.store.arguments import new_gen
from service.store.keys import backup_key, gone_key, session_keys, staged_key
from service.store.link import Link
from service.store.replay.known import Known
from service.store.replay.log import (
    RENEWAL,
    RESOLVED,
    UNKEPT,
    Entry,
    ReplayLog,
    compress,
    pack_entry,
)
from service.store.replay.passes import FAILED, PLAYED, Pass
from service.store.replay.rounds import KEPT_MS
from service.store.replay.staged import Staged
from service.store.scan import describe
from service.store.scripts import replay_of, script

T = TypeVar("T")

AT_ONCE, AT_ONCE_BYTES = 256, 262_144
"""Entries that are on their way at the same time, and of how many bytes together."""

LOOKED_AT_ONCE = 200
"""Entries of the log: about a millisecond of the event loop."""

SESSIONS_AT_ONCE = 16
DESCRIBED_AT_ONCE = 1_000
DESCRIBED_BY_CALL = 100


class Player:
    """One replay of a log over one link. Every method may raise ServiceError."""

    def __init__(self, link: Link, log: ReplayLog, process_id: str, *, is_lone: bool) -> None:
        """Play `log` through `link`; `process_id` tells its entries from those of others.

        `is_lone`: no other process writes to this Redis.
        """
        self._is_lone = is_lone
        self._link = link
        self._log = log
        self._id = process_id.encode()
        self._missing: dict[SessionRef, Known] = {}
        self._headers: dict[SessionRef, Header] = {}
        self._stuck: set[SessionRef] = set()
        self._ended: set[SessionRef] = set()
        self._over: Sequence[SessionRef] = ()
        self.sessions = self.replayed = self.lost = 0

    async def look(self) -> None:
        """Find out which sessions Redis does not have as they were told."""
        known: dict[SessionRef, Known] = defaultdict(Known)
        async for entries in self._portions(lambda entry: entry.rev > 0):
            for entry in entries:
                known[entry.ref].hear(entry)
        now_ms = await self._redis_ms()
        for page in _slices(list(known), DESCRIBED_AT_ONCE):
            headers = await self._described(page)
            for ref in page:
                self._compare(ref, known[ref], headers.get(ref), now_ms)

    async def _redis_ms(self) -> int:
        reply = await self._link.command("TIME")
        seconds, micros = reply if isinstance(reply, list) else (0, 0)
        return int(seconds) * 1_000 + int(micros) // 1_000

    async def _described(self, refs: Sequence[SessionRef]) -> dict[SessionRef, Header]:
        """Return the headers of those that are there; of one that cannot be read there is none."""
        try:
            found = await describe(self._link, refs, DESCRIBED_BY_CALL)
        except Unavailable as error:
            if not error.is_alone:
                raise
            each_alone = [self._described([ref]) for ref in refs] if len(refs) > 1 else []
            parts = [await one for one in each_alone]
            return {ref: header for part in parts for ref, header in part.items()}
        return {each.ref: each.header for each in found}

    def _compare(self, ref: SessionRef, known: Known, header: Header | None, now_ms: int) -> None:
        self.lost += known.is_contradicted(header)
        is_there = known.is_there(header)
        has_ended = header is None and known.is_over(now_ms)
        if has_ended and self._is_lone:
            return
        if has_ended:
            self._ended.add(ref)  # for all that is known here; others may have renewed it
        self.sessions += not (is_there or has_ended)
        # Others may be about to bring back what was deleted here.
        if not is_there or known.is_deleted:
            self._missing[ref] = known
            if header is not None:
                self._headers[ref] = header

    async def play_alone(self) -> None:
        """Play what follows what is there, and find out where writes of others are needed."""
        reached: dict[SessionRef, int] = defaultdict(int)
        reached.update((ref, it.rev) for ref, it in self._headers.items() if self._has(ref, it))
        async for entries in self._portions(self._is_due):
            outcomes = await self._play(entries)
            for entry, outcome in zip(entries, outcomes, strict=True):
                if outcome in FAILED:
                    self._stuck.add(entry.ref)
                reached[entry.ref] = max(reached[entry.ref], entry.rev)
        for ref, known in self._missing.items():
            # What led to the last of it is not among the own writes, or nobody was told.
            if not known.is_deleted and reached[ref] < known.rev:
                self._stuck.add(ref)

    async def stage(self) -> None:
        """Put what could not be played where all can see it."""
        async for entries in self._portions(self._is_stuck):
            by_session: dict[SessionRef, list[Entry]] = defaultdict(list)
            for entry in entries:
                by_session[entry.ref].append(entry)
            await asyncio.gather(*(self._stage(*each) for each in by_session.items()))

    async def play_together(self) -> None:
        """Play what all have staged of those sessions, each revision by whoever comes first."""
        for part in _slices(list(self._stuck), SESSIONS_AT_ONCE):
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
        for part in _slices(keys, AT_ONCE):
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

    def _has(self, ref: SessionRef, header: Header) -> bool:
        return header.gen == self._missing[ref].gen

    def _is_due(self, entry: Entry) -> bool:
        is_certain = entry.rev > 0 and entry.name != RESOLVED
        if entry.ref in self._stuck or not is_certain or not self._is_wanted(entry):
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
        if entry.name == UNKEPT:
            return b"absent", 0
        args = [gen or entry.gen, *entry.args[1:], follows, entry.at_ms]
        keys = (*session_keys(entry.ref), gone_key(entry.ref), backup_key(entry.ref))
        try:
            reply = await self._link.run(replay_of(entry.name), keys, args, is_large=False)
        except (StoreFull, Unavailable) as error:
            if isinstance(error, Unavailable) and not error.is_alone:
                raise
            return b"refused", 0
        self.replayed += reply[0] == PLAYED
        is_told = reply[0] in {b"gap", b"known"}
        return reply[0], reply[1] if is_told else follows + entry.has_changed

    async def _stage(self, ref: SessionRef, entries: Sequence[Entry]) -> None:
        key, data = staged_key(ref), b"".join(map(pack_entry, entries))
        try:
            await self._link.command("RPUSH", key, self._id + compress(data), aim=key)
            await self._link.command("PEXPIRE", key, KEPT_MS, aim=key)
        except StoreFull:
            self.lost += sum(entry.has_changed for entry in entries)

    async def _play_staged(self, ref: SessionRef) -> None:
        staged = await Staged.read(self._link, ref, self._id)
        gens, unsure = await staged.look()
        lost, known = 0, self._missing[ref]
        for gen in gens:
            most = known.rev if gen == known.gen and not known.is_deleted else 0
            lost += await self._play_life(gen, staged, unsure, most)
        self.lost += 0 if ref in self._ended else lost

    async def _play_life(self, gen: str, staged: Staged, unsure: list[Entry], most_rev: int) -> int:
        """Play the writes of a session of one gen, in order; return how many of ours are lost.

        Where a revision up to `most_rev` is missing, a write may have led to it whose outcome
        nobody was told.
        """
        while True:
            told = await self._play_in_order(gen, staged)
            gap = told.rev if told.gap is None and told.rev < most_rev else told.gap
            if gap is None or told.is_unkept or told.has_ended:
                return told.lost
            if told.has_played:
                continue
            fitting = (each for each in unsure if each.at_ms <= told.before_ms)
            if (candidate := next(fitting, None)) is None:
                return told.lost or max(0, most_rev - gap)
            unsure.remove(candidate)
            await self._play_one(candidate, gap, gen)

    async def _play_in_order(self, gen: str, staged: Staged) -> Pass:
        told = Pass()
        for part in staged.portions(gen, AT_ONCE):
            calls = (self._play_one(each.entry, each.entry.follows) for each in part)
            for each, (outcome, rev) in zip(part, await asyncio.gather(*calls), strict=True):
                told.hear(each, outcome, rev)
        return told

    async def _settle_all(
        self, refs: Sequence[SessionRef], *, is_last: bool
    ) -> Sequence[SessionRef]:
        """Return those whose time is over."""
        over: list[SessionRef] = []
        for part in _slices(refs, AT_ONCE):
            ends = await asyncio.gather(*(self._settle(ref, is_last=is_last) for ref in part))
            over += [ref for ref, is_over in zip(part, ends, strict=True) if is_over]
        return over

    async def _settle(self, ref: SessionRef, *, is_last: bool) -> bool:
        known = self._missing[ref]
        args = (known.gen, known.rev, known.renewed_ms, new_gen(), int(is_last))
        try:
            reply = await self._link.run(script("settle"), session_keys(ref), args)
        except Unavailable as error:
            if not error.is_alone:
                raise
            return False
        return reply == [PLAYED, 1]


def _slices(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    return (items[first : first + most] for first in range(0, len(items), most))
