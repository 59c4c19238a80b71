"""Two instances of the service on one Redis, and a reference that has to agree with both."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import permutations
from operator import lt
from typing import Any

import msgspec
from httpx import AsyncClient, Response
from redis import Redis

from service.settings import load_settings
from service.store.keys import ANY_LOG, PREFIX, ref_of_key
from tests.agreement import Difference, End, agree, expect, milliseconds
from tests.conftest import run_app
from tests.polling import eventually
from tests.reference import ACCESS_PAUSE_MS, Reference
from tests.reference_nouns import Answer, Call, Settings, ending
from tests.servers import Server
from tests.stateful.operations import Op, Request, request_of, url

WINDOW = 8
MAX_MESSAGES = 12
TTL_SECONDS = 7_200
MARGIN_MS = 8
SPAN_MS = 40
MOST_WAIT_MS = 1_500
MOST_WORLDS = 8
OF_A_VALUE = {"read_value", "put_value", "delete_value"}


WHOLE: dict[str, Any] = {"include": ("messages", "state"), "window": {"last": 1000}}
"""The arguments that read all of a session."""


@dataclass
class Driver:
    """Sends operations to the services, and follows with every reference that may still be true.

    Two concurrent calls leave one world for each order that explains both answers.
    """

    clients: tuple[AsyncClient, AsyncClient]
    redis: Redis
    steps: Counter[str] = field(default_factory=Counter)
    rules: type[Reference] = Reference
    worlds: list[Reference] = field(default_factory=list)
    tags: dict[str, list[str]] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    difference: str = ""
    is_over: bool = False

    async def begin(self) -> None:
        """Begin with nothing; the hot tiers keep what they hold of former lives."""
        for ref in filter(None, map(ref_of_key, self.redis.scan_iter(ANY_LOG))):
            await self.clients[0].delete(url(ref.id))
        defaults = Settings(TTL_SECONDS * 1000, "write", None, MAX_MESSAGES)
        self.worlds, self.tags, self.history = [self.rules(defaults, WINDOW)], {}, []
        self.is_over = False
        self.steps["runs"] += 1

    async def one(self, op: Op, who: int) -> None:
        """Do one operation, and compare."""
        await self._wait_for_clear_time()
        call, after = self.resolve(op), self.now_ms()
        response = await self.send(call, who, head=op.head)
        before = self.now_ms()
        self._note(f"{who}", op, call, response)
        if not self._is_clear(after, before):
            await self._abandon(op)
            return
        self._follow([(op, call, response)], [(0,)], after, before)

    async def both(self, first: Op, second: Op, who: tuple[int, int]) -> None:
        """Do two operations at once: the answers must be those of one of the two orders."""
        await self._wait_for_clear_time()
        calls, after = (self.resolve(first), self.resolve(second)), self.now_ms()
        responses = await asyncio.gather(
            self.send(calls[0], who[0], head=first.head),
            self.send(calls[1], who[1], head=second.head),
        )
        before = self.now_ms()
        done = list(zip((first, second), calls, responses, strict=True))
        for name, each in zip(("┌", "└"), done, strict=True):
            self._note(f"{name}{who[name == '└']}", *each)
        if not self._is_clear(after, before) or any(is_last(r, before) for r in responses):
            await self._abandon(first, second)
            return
        if who[0] == who[1] and is_one_call(*calls):
            done = [each for each in done if not is_in_progress(each[2])]
            self._expect(done, "neither of the two was done")
        self._follow(done, list(permutations(range(len(done)))), after, before)
        self.steps["concurrent"] += 1
        self.steps["in progress"] += 2 - len(done)

    async def wait(self, *, is_wanted: bool) -> None:
        """Wait until a session or key has ended or a read renews again, if that is soon."""
        now = self.now_ms()
        times = [*(high for _, high in self._edges()), *self._pauses()]
        soon = [time for time in times if now < time <= now + MOST_WAIT_MS]
        if soon and is_wanted:
            await asyncio.sleep((min(soon) - now + MARGIN_MS) / 1000)
            self.steps["waits"] += 1

    async def lose(self, *, is_wanted: bool) -> None:
        """Let Redis lose its memory: the services give it back, and nothing has changed."""
        if not is_wanted:
            return
        before = [await _replays(client) for client in self.clients]
        self.redis.flushall()
        for client, replays in zip(self.clients, before, strict=True):
            await eventually(partial(_replays, client), partial(lt, replays), within_seconds=20)
        self.history.append(f"    {self.now_ms()} Redis has lost its memory")
        self.steps["lost"] += 1

    async def end(self) -> None:
        """Look at everything once more, and at the keys in Redis; then delete all of it."""
        if self.is_over:
            return
        for sid in list(self.worlds[0].sessions):
            await self.one(Op("read_session", sid, WHOLE), 0)
            await self.one(Op("read_session", sid, WHOLE), 1)
        self._check_expiries()
        for sid in list(self.worlds[0].sessions):
            await self.one(Op("delete_session", sid), 0)
        await self._wait_for_clear_time()
        left = self._names()
        self._expect(not left, f"left in Redis: {left}")

    # --- Requests ---------------------------------------------------------------------------------

    def resolve(self, op: Op) -> Call:
        """Put real tags and times where the operation has names for them."""
        call = Call(operation=op.name, sid=op.sid, args=self._real_args(op), key=op.key)
        if op.condition is not None:
            header, which = op.condition
            tag = self._real_tag(op, which)
            is_match = header == "If-Match"
            call = replace(call, if_match=tag) if is_match else replace(call, if_none_match=tag)
        request = request_of(call, head=op.head)
        return replace(call, fingerprint=(request.method, request.path, request.content))

    def _real_args(self, op: Op) -> dict[str, Any]:
        window = op.args.get("window", {})
        if "since" not in window:
            return op.args
        return op.args | {"window": window | {"since": self._real_since(op.sid, window["since"])}}

    def _real_since(self, sid: str, seq: int) -> int:
        """Return the time of a message, or 0 where that is not known exactly of all."""
        session = self.worlds[0].sessions.get(sid)
        times = [message.at for message in session.messages.values()] if session else []
        if not session or seq not in session.messages or any(t.low != t.high for t in times):
            return 0
        return session.messages[seq].at.low

    def _real_tag(self, op: Op, which: str) -> str | None:
        session = self.worlds[0].sessions.get(op.sid)
        if which == "any":
            return "*"
        if op.name in OF_A_VALUE and self._is_any_mark_unknown(op):
            return None
        if which == "foreign":
            others = [s.tag.text for sid, s in self.worlds[0].sessions.items() if sid != op.sid]
            return others[0] if others else '"0-1"'
        if which == "old":
            current = session.tag.text if session else ""
            return next((t for t in reversed(self.tags.get(op.sid, [])) if t != current), '"0-2"')
        if session is None:
            return '"0-3"'
        value = session.state.get(op.args["key"]) if op.name in OF_A_VALUE else None
        return value.mark.text if value else session.tag.text

    def _is_any_mark_unknown(self, op: Op) -> bool:
        """Whether a value has an ETag that no answer has told yet: any tag could be that."""
        sessions = [world.sessions.get(op.sid) for world in self.worlds]
        values = [session.state.get(op.args["key"]) for session in sessions if session]
        return any(value is not None and not value.mark.text for value in values)

    async def send(self, call: Call, who: int, *, head: bool) -> Response:
        request = request_of(call, head=head)
        if call.operation == "list_sessions":
            return await self._listing(request, who)
        return await self._sent(request, who)

    async def _sent(self, request: Request, who: int) -> Response:
        return await self.clients[who].request(
            request.method,
            request.path,
            content=request.content,
            headers=dict(request.headers),
        )

    async def _listing(self, request: Request, who: int) -> Response:
        """Follow the pages, and answer with all sessions by id."""
        found: dict[str, msgspec.Raw] = {}
        cursor = ""
        while True:
            page = await self._sent(replace(request, path=request.path + cursor), who)
            if page.status_code != 200:
                return page
            document = msgspec.json.decode(page.content, type=_Listing)
            ids = [json.loads(bytes(raw))["id"] for raw in document.sessions]
            self._expect(len(set(ids)) == len(ids), "a session is twice on a page")
            found |= dict(zip(ids, document.sessions, strict=True))
            if document.next is None:
                return Response(200, headers=page.headers, content=msgspec.json.encode(found))
            cursor = f"&cursor={document.next}"

    # --- Times ------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        seconds, micros = self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def _edges(self) -> list[tuple[int, int]]:
        """When something ends, from the earliest to the latest time that is possible."""
        sessions = [session for world in self.worlds for session in world.sessions.values()]
        ends = [ending(session) for session in sessions]
        ends += [value.end.bounds for session in sessions for value in session.state.values()]
        return [end for end in ends if end is not None]

    def _pauses(self) -> list[int]:
        """When the next read of a session renews it."""
        sessions = [session for world in self.worlds for session in world.sessions.values()]
        renewing = [session for session in sessions if session.settings.touch == "access"]
        return [session.renewed.high + ACCESS_PAUSE_MS for session in renewing]

    def _is_clear(self, after: int, before: int) -> bool:
        """Whether surely nothing ends, and nothing can have ended, between two times."""
        return all(high < after or before + MARGIN_MS < low for low, high in self._edges())

    async def _wait_for_clear_time(self) -> None:
        """Let pass what is about to end: inside of a call either answer would be right."""
        now = self.now_ms()
        near = [e for e in self._edges() if e[0] - SPAN_MS - MARGIN_MS <= now <= e[1] + MARGIN_MS]
        while near:
            await asyncio.sleep((max(high for _, high in near) - now + MARGIN_MS + 1) / 1000)
            now = self.now_ms()
            near = [e for e in near if now <= e[1] + MARGIN_MS]
        for world in self.worlds:
            world.forget_what_has_ended(now)

    async def _abandon(self, *ops: Op) -> None:
        """Begin anew with sessions whose end came in the midst of a call."""
        self.steps["abandoned"] += 1
        for sid in {op.sid for op in ops} | {op.args.get("to", op.sid) for op in ops}:
            self.history.append(f"   {sid}: ended in the midst, deleted")
            await self.clients[0].delete(url(sid))
            for world in self.worlds:
                world.sessions.pop(sid, None)

    # --- Comparison -------------------------------------------------------------------------------

    def _follow(
        self,
        done: "list[Done]",
        orders: list[tuple[int, ...]],
        after: int,
        before: int,
    ) -> None:
        """Keep the worlds in which the answers are right. Raises Difference if none is left."""
        self.steps["steps"] += len(done)
        for op, _, response in done:
            self.steps[f"{op.name} {response.status_code}"] += 1
        is_alone = len(orders) == len(self.worlds) == 1
        left: list[Reference] = []
        differences: list[str] = []
        for world in self.worlds:
            for order in orders:
                candidate = world if is_alone else deepcopy(world)
                difference = explain(candidate, [done[index] for index in order], (after, before))
                if difference:
                    differences.append(difference)
                elif candidate not in left:
                    left.append(candidate)
        self._expect(left, "\n".join(differences))
        self._expect(len(left) <= MOST_WORLDS, "too many worlds")
        self.worlds = left
        for op, _, response in done:
            tag = response.headers.get("ETag")
            if tag is not None and op.name not in OF_A_VALUE:
                self.tags.setdefault(op.sid, []).append(tag)

    def _check_expiries(self) -> None:
        """All keys of a session end at the same millisecond."""
        names = sorted(self._names())
        ends: dict[bytes, list[int]] = {}
        for name, end in zip(names, self._ends(names), strict=True):
            ends.setdefault(name.rpartition(b"}")[0], []).append(end)
        for session, times in ends.items():
            # Redis 6.2 tells what is left, by the clock of each command.
            self._expect(max(times) - min(times) <= 1, f"{session!r} ends at {times}")
            self.steps["keys"] += len(times)

    def _names(self) -> list[bytes]:
        """Return the names of all keys but for backups: they outlive sessions that have ended."""
        names = self.redis.scan_iter(PREFIX + b"*")
        return [name for name in names if not name.endswith(b"}b")]

    def _ends(self, names: list[bytes]) -> list[int]:
        with self.redis.pipeline(transaction=True) as pipeline:
            for name in names:
                pipeline.pttl(name)
            return list(pipeline.execute())

    def summary(self) -> str:
        """Tell what was done, in a line."""
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.steps.items()))
        return f"{self.steps['steps']} steps in {self.steps['runs']} runs: {counts}"

    def _note(self, who: str, op: Op, call: Call, response: Response) -> None:
        headers = {n: v for n, v in response.headers.items() if n in {"etag", "session-expires"}}
        request = request_of(call, head=op.head)
        sent = f"{request.method} {request.path} {dict(request.headers)} {request.content!r}"
        got = f"{response.status_code} {headers} {response.content!r}"
        self.history.append(f"{who:>3} {sent}\n    {self.now_ms()} {got}")

    def _expect(self, is_so: object, what: str) -> None:
        if not is_so:
            self.is_over, self.difference = True, "\n".join([*self.history, what])
            raise Difference(self.difference)


class _Listing(msgspec.Struct):
    sessions: list[msgspec.Raw]
    next: str | None


Done = tuple[Op, Call, Response]


def is_one_call(first: Call, second: Call) -> bool:
    """Whether the second is refused as long as the first runs in the same process."""
    return bool(first.key) and (first.sid, first.key) == (second.sid, second.key)


def is_last(response: Response, before: int) -> bool:
    """Whether its session ended with this very call: the other call may find it or not."""
    end = response.headers.get("Session-Expires")
    return end is not None and milliseconds(json.dumps(end).encode()) <= before + MARGIN_MS


def is_in_progress(response: Response) -> bool:
    return b'"idempotency_in_progress"' in response.content


def explain(world: Reference, done: list[Done], times: tuple[int, int]) -> str:
    """Do calls in a world, and tell what it would have answered otherwise; "" = nothing."""
    for op, call, response in done:
        try:
            check(world.apply(call, *times), response, times, head=op.head)
        except Difference as difference:
            return f"{op.name}: {difference}"
    return ""


def check(answer: Answer, response: Response, times: tuple[int, int], *, head: bool) -> None:
    """Compare a response with what had to come back. Raises Difference."""
    expect(
        response.status_code == answer.status,
        f"status {response.status_code}, not {answer.status} {answer.code}",
    )
    if answer.code:
        _check_problem(answer, response, head=head)
        return
    _check_headers(answer, response, times)
    if head or answer.body is None:
        expect(not response.content, "there is a body")
    elif isinstance(answer.body, bytes):
        expect(response.content == answer.body, f"{response.content!r}, not {answer.body!r}")
    else:
        agree(answer.body, response.content)
    if answer.body is not None:
        found = response.headers.get("Content-Type")
        expect(found == answer.media_type, f"content type {found}, not {answer.media_type}")


def _check_problem(answer: Answer, response: Response, *, head: bool) -> None:
    if head:
        return
    problem = response.json()
    expect(problem["code"] == answer.code, f"code {problem['code']}, not {answer.code}")
    if answer.code == "precondition_failed":
        agree(answer.tag, json.dumps(problem["etag"]).encode(), "etag of the problem")


def _check_headers(answer: Answer, response: Response, times: tuple[int, int]) -> None:
    headers = response.headers
    for name, leaf in (("ETag", answer.tag), ("Session-Expires", answer.end)):
        if leaf is None or (isinstance(leaf, End) and not leaf.parts):
            expect(name not in headers, f"there is {name}: {headers.get(name)}")
        else:
            expect(name in headers, f"there is no {name}")
            agree(leaf, json.dumps(headers[name]).encode(), name)
    bounds = answer.end.bounds if answer.end else None
    if bounds:
        most, least = (max(0, -((time - bounds[0]) // 1000)) for time in times)
        left = int(headers["Session-TTL"])
        expect(least <= left <= most, f"Session-TTL {left}, not {least}..{most}")
    expect(("Durability" in headers) == answer.is_write, "Durability")
    expect(("Idempotency-Replayed" in headers) == answer.is_replayed, "Idempotency-Replayed")


async def _replays(client: AsyncClient) -> int:
    counters = (await client.get("/health")).json()["counters"]
    return int(counters["replays"])


@asynccontextmanager
async def run_driver(server: Server) -> AsyncIterator[Driver]:
    """Run two instances with small limits on a server, and a driver of both."""
    settings = load_settings(
        {
            "REDIS_URL": server.url,
            "SESSION_TTL_SECONDS": str(TTL_SECONDS),
            "MAX_MESSAGES": str(MAX_MESSAGES),
            "DEDUPE_WINDOW": str(WINDOW),
        }
    )
    with Redis.from_url(server.url) as redis:
        async with run_app(settings) as one, run_app(settings) as other:
            yield Driver((one, other), redis)
