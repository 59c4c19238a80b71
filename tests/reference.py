"""The reference: what the service promises, as a plain model in memory.

It is meant to be obviously right, not fast: dicts, loops, no bytes of Redis. What only the service
can know (a random generation, the moment inside of a call) is a leaf that learns it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.agreement import End, Gen, Mark, Moment, Tag, Text
from tests.reference_json import identity_of, merge
from tests.reference_nouns import (
    JSON,
    Answer,
    Call,
    Refusal,
    Session,
    Settings,
    Value,
    has_ended,
    seconds,
)

ACCESS_PAUSE_MS = 1_000
CALLS_REMEMBERED = 16
MOST_MESSAGES_READ = 1_000
DEFAULT_MESSAGES_READ = 50


@dataclass
class Reference:
    """All sessions of a namespace. Each public method is one operation."""

    defaults: Settings
    window: int
    sessions: dict[str, Session] = field(default_factory=dict)
    gens: set[str] = field(default_factory=set)
    now: Moment = field(default_factory=lambda: Moment(0, 0))

    def apply(self, call: Call, after_ms: int, before_ms: int) -> Answer:
        """Do it between two times of Redis, and tell what has to come back."""
        self.now = Moment(after_ms, before_ms)
        self.forget_what_has_ended(after_ms)
        if _is_read(call):
            call = replace(call, key="")
        known = self._replayed(call)
        if known is not None:
            return known
        operation: Callable[[Call], Answer] = getattr(self, call.operation)
        try:
            answer = operation(call)
        except Refusal as refusal:
            answer = refusal.answer
        self._remember(call, answer)
        return answer

    def forget_what_has_ended(self, ms: int) -> None:
        for sid, session in list(self.sessions.items()):
            if has_ended(session, ms):
                del self.sessions[sid]
            for key, value in list(session.state.items()):
                if value.end.bounds and value.end.bounds[1] <= ms:
                    del session.state[key]

    # --- Sessions ---------------------------------------------------------------------------------

    def put_session(self, call: Call) -> Answer:
        session, created = self._made(self._for_write(call), call)
        self._written(session, call, created=created, changed=False)
        return self._about(session, session.document(), status=201 if created else 200)

    def patch_session(self, call: Call) -> Answer:
        session = self._existing(call)
        self._check(call, session.tag)
        defaults = {
            "ttl": seconds(self.defaults.ttl),
            "touch": self.defaults.touch,
            "max_age": None,
            "max_messages": self.defaults.max_messages,
        }
        named = {
            name: defaults[name] if value is None else value
            for name, value in call.settings.items()
        }
        call = replace(call, args={"settings": named})
        self._written(session, call, created=False, changed=False)
        return self._about(session, session.document())

    def delete_session(self, call: Call) -> Answer:
        self._for_write(call)
        self.sessions.pop(call.sid, None)
        return Answer(status=204, is_write=True)

    def read_session(self, call: Call) -> Answer:
        session = self._existing(call)
        document = session.document()
        if "state" in call.args["include"]:
            document["state"] = {key: value.document() for key, value in session.state.items()}
        if "messages" in call.args["include"]:
            document |= self._page(session, call.args["window"])
        return self._read(call, session, lambda: {**document, "expires_at": session.end})

    def list_sessions(self, call: Call) -> Answer:
        prefix = call.args["prefix"]
        found = {sid: s.document() for sid, s in self.sessions.items() if sid.startswith(prefix)}
        return Answer(status=200, body=found)

    def copy_session(self, call: Call) -> Answer:
        source = self._existing(call)
        self._check(call, source.tag)
        if call.args["to"] in self.sessions:
            raise Refusal(409, "session_exists")
        target = self._new(call.args["to"])
        target.settings, target.dedupe = replace(source.settings), source.dedupe
        target.messages, target.memory = dict(source.messages), dict(source.memory)
        target.last_seq = source.last_seq
        for key, value in source.state.items():
            target.put(key, value.content, value.media_type, value.end)
        return self._about(target, target.document(), status=201)

    # --- State ------------------------------------------------------------------------------------

    def read_value(self, call: Call) -> Answer:
        session = self._existing(call)
        value = session.state.get(call.args["key"])
        if value is None:
            self._accessed(session, is_sure=False)
            raise Refusal(404, "key_not_found")
        answer = self._read(call, session, lambda: value.content, tag=value.mark)
        return replace(answer, media_type=value.media_type)

    def put_value(self, call: Call) -> Answer:
        key = call.args["key"]
        is_new = self._checked_value(call) is None
        session, created = self._made(self.sessions.get(call.sid), call)
        self._set(session, key, call.args["value"], call.args.get("key_ttl"))
        self._written(session, call, created=created, changed=True)
        answer = self._about(session, None, status=201 if is_new else 204)
        return replace(answer, tag=session.state[key].mark)

    def delete_value(self, call: Call) -> Answer:
        was_there = self._checked_value(call) is not None
        session = self.sessions.get(call.sid)
        if session is None:
            return Answer(status=204, is_write=True)
        session.state.pop(call.args["key"], None)
        self._written(session, call, created=False, changed=was_there)
        return replace(self._about(session, None, status=204), tag=None)

    def write_state(self, call: Call) -> Answer:
        args = call.args
        sets, merges, gets = args.get("set", {}), args.get("merge", {}), args.get("get", ())
        if _is_read(call):
            return self._read_batch(call, gets)
        found = self._for_write(call)
        if found is None and not merges and not any(sets.values()):
            return Answer(status=200, body=_batch(None, gets, 0), is_write=True)
        merged = self._merged_values(found, merges)
        session, created = self._made(found, call)
        deleted = [key for key, value in sets.items() if value is None and key in session.state]
        for key in deleted:
            del session.state[key]
        for key, value in sets.items():
            if value is not None:
                self._set(session, key, value, args.get("key_ttl"))
        for key, (content, media_type, end) in merged.items():
            session.put(key, content, media_type, end)
        changed = bool(deleted or merges or any(sets.values()))
        self._written(session, call, created=created, changed=changed)
        return self._about(session, _batch(session, gets, len(deleted)))

    def delete_values(self, call: Call) -> Answer:
        session = self._for_write(call)
        if session is None:
            return Answer(status=200, body={"deleted": 0}, is_write=True)
        doomed = [key for key in session.state if key.startswith(call.args["prefix"])]
        for key in doomed:
            del session.state[key]
        self._written(session, call, created=False, changed=bool(doomed))
        return self._about(session, {"deleted": len(doomed)})

    def list_state(self, call: Call) -> Answer:
        args, session = call.args, self.sessions.get(call.sid)
        held = session.state if session else {}
        keys = sorted((k for k in held if k.startswith(args["prefix"])), key=str.encode)
        keys = [key for key in keys if key.encode() > args["after"].encode()]
        page = keys[: args["limit"]]
        body: dict[str, object] = {"next": page[-1] if len(keys) > len(page) else None}
        if args["values"]:
            body["values"] = {key: held[key].document() for key in page}
        else:
            body["keys"] = page
        return self._read(call, session, lambda: body)

    # --- Messages ---------------------------------------------------------------------------------

    def append(self, call: Call) -> Answer:
        session, created = self._made(self._for_messages(call), call)
        dedupe, before, skipped = call.args.get("dedupe", ""), session.last_seq, []
        session.dedupe = dedupe or session.dedupe
        for text in call.args["messages"]:
            raw, identity = identity_of(text, dedupe)
            if identity is not None and session.seqs_of(identity, self.window):
                skipped.append(raw)
            else:
                session.add(text, identity, self.now)
        count = session.last_seq - before
        self._written(session, call, created=created, changed=count > 0)
        body = {**_seqs(session, count), "duplicates": skipped, "etag": session.tag}
        return self._about(session, body, status=201 if count else 200)

    def replace_messages(self, call: Call) -> Answer:
        found = self._for_messages(call)
        texts, most = call.args["messages"], (found.settings if found else self.defaults)
        if len(texts) > call.settings.get("max_messages", most.max_messages):
            raise Refusal(413, "too_large")
        session, created = self._made(found, call)
        session.dedupe = call.args.get("dedupe", "") or session.dedupe
        session.messages.clear()
        session.memory.clear()
        for text in texts:
            session.add(text, identity_of(text, call.args.get("dedupe", ""))[1], self.now)
        self._written(session, call, created=created, changed=True)
        return self._about(session, {**_seqs(session, len(texts)), "etag": session.tag})

    def read_messages(self, call: Call) -> Answer:
        session = self.sessions.get(call.sid)
        return self._read(call, session, lambda: self._page(session, call.args["window"]))

    def read_message(self, call: Call) -> Answer:
        session, seq = self._existing(call), call.args["seq"]
        if seq not in session.messages:
            self._accessed(session, is_sure=False)
            raise Refusal(404, "message_not_found")
        return self._read(call, session, lambda: session.message(seq))

    def delete_message(self, call: Call) -> Answer:
        return self._removal(call, lambda s: [call.args["seq"]] if s else [], status=204)

    def clear_messages(self, call: Call) -> Answer:
        return self._removal(call, list, status=204)

    def pop_messages(self, call: Call) -> Answer:
        last = call.args["last"]
        return self._removal(
            call, lambda seqs: seqs[len(seqs) - min(last, len(seqs)) :], "messages"
        )

    def trim_messages(self, call: Call) -> Answer:
        before = call.args["before"]
        return self._removal(call, lambda seqs: [seq for seq in seqs if seq < before], "deleted")

    def _removal(
        self,
        call: Call,
        choose: Callable[[list[int]], list[int]],
        tells: str = "",
        status: int = 200,
    ) -> Answer:
        session = self._for_write(call)
        held = sorted(session.messages) if session else []
        doomed = [seq for seq in choose(held) if seq in held]
        messages = [session.message(seq) for seq in doomed] if session else []
        body: object = {"messages": messages} if tells == "messages" else {"deleted": len(doomed)}
        body = body if tells else None
        if session is None:
            return Answer(status=status, body=body, is_write=True)
        session.remove(doomed)
        self._written(session, call, created=False, changed=bool(doomed))
        return self._about(session, body, status=status)

    def _page(self, session: Session | None, window: dict[str, Any]) -> dict[str, object]:
        if session is None or not session.messages:
            nothing = dict.fromkeys(("first_seq", "last_seq", "next", "prev"))
            return {**nothing, "messages": [], "total": 0}
        held = sorted(session.messages)
        page = self._fitting(session, self._chosen(session, held, window), window)
        return {
            "messages": [session.message(seq) for seq in page],
            "first_seq": held[0],
            "last_seq": held[-1],
            "total": len(held),
            "next": page[-1] if page and page[-1] < held[-1] else None,
            "prev": page[0] if page and page[0] > held[0] else None,
        }

    def _chosen(self, session: Session, held: list[int], window: dict[str, Any]) -> list[int]:
        if "id" in window:
            known = session.seqs_of(window["id"], self.window)
            return [seq for seq in held if seq in known][-1:]
        limit = min(
            window.get("last", window.get("limit", DEFAULT_MESSAGES_READ)), MOST_MESSAGES_READ
        )
        if "since" in window:
            held = [seq for seq in held if session.messages[seq].at.low >= window["since"]]
        held = [seq for seq in held if seq > window.get("after", 0)]
        held = [seq for seq in held if seq < window.get("before", seq + 1)]
        is_from_the_oldest = "after" in window or "since" in window
        return held[:limit] if is_from_the_oldest else held[max(0, len(held) - limit) :]

    def _fitting(self, session: Session, page: list[int], window: dict[str, Any]) -> list[int]:
        room, first = window.get("max_bytes", 10**9), len(page)
        for index in range(len(page) - 1, -1, -1):
            room -= len(session.messages[page[index]].text)
            if room < 0:
                break
            first = index
        return page[first:]

    # --- What operations share --------------------------------------------------------------------

    def _existing(self, call: Call) -> Session:
        if call.sid not in self.sessions:
            raise Refusal(404, "session_not_found")
        return self.sessions[call.sid]

    def _check(self, call: Call, current: Tag | Mark | None) -> None:
        """Refuse by the conditions of a write."""
        if not _matches(call.if_match, current, default=True):
            raise Refusal(412, "precondition_failed", current)
        if _matches(call.if_none_match, current, default=False):
            raise Refusal(412, "precondition_failed", current)

    def _for_write(self, call: Call) -> Session | None:
        session = self.sessions.get(call.sid)
        self._check(call, session.tag if session else None)
        return session

    def _for_messages(self, call: Call) -> Session | None:
        session, dedupe = self._for_write(call), call.args.get("dedupe", "")
        if session and dedupe and session.dedupe not in {"", dedupe}:
            raise Refusal(409, "dedupe_mismatch")
        return session

    def _checked_value(self, call: Call) -> Value | None:
        session = self.sessions.get(call.sid)
        value = session.state.get(call.args["key"]) if session else None
        self._check(call, value.mark if value else None)
        return value

    def _new(self, sid: str) -> Session:
        now, settings = self.now, replace(self.defaults)
        self.sessions[sid] = Session(sid, Gen(self.gens), now, now, now, now, settings)
        return self.sessions[sid]

    def _made(self, session: Session | None, call: Call) -> tuple[Session, bool]:
        return (session, False) if session else (self._new(call.sid), True)

    def _written(self, session: Session, call: Call, *, created: bool, changed: bool) -> None:
        """Do what every write does: name settings, count the revision, renew, trim."""
        named, settings = call.settings, session.settings
        for name in named:
            is_time = name in {"ttl", "max_age"} and named[name] is not None
            setattr(settings, name, round(named[name] * 1000) if is_time else named[name])
        if (named or changed) and not created:
            session.rev += 1
            session.updated = self.now
        if "ttl" in named or settings.touch != "never":
            session.renewed = self.now
        session.written = self.now
        for seq in sorted(session.messages)[: -settings.max_messages]:
            del session.messages[seq]

    def _about(self, session: Session, body: object, *, status: int = 200) -> Answer:
        return Answer(status=status, body=body, tag=session.tag, end=session.end, is_write=True)

    def _read(
        self,
        call: Call,
        session: Session | None,
        body: Callable[[], object],
        tag: Mark | None = None,
    ) -> Answer:
        current = tag or (session.tag if session else None)
        if not _matches(call.if_match, current, default=True):
            self._accessed(session, is_sure=False)
            raise Refusal(412, "precondition_failed", current)
        if session is None:
            return Answer(status=200, body=body())
        self._accessed(session)
        if _matches(call.if_none_match, current, default=False):
            return Answer(status=304, tag=current, end=session.end)
        return Answer(status=200, body=body(), tag=current, end=session.end)

    def _accessed(self, session: Session | None, *, is_sure: bool = True) -> None:
        """Renew at most once a second; whether a refused read renews is left open."""
        if session is None or session.settings.touch != "access":
            return
        renewed, now = session.renewed, self.now
        if now.high - renewed.low < ACCESS_PAUSE_MS:
            return
        is_over = now.low - renewed.high >= ACCESS_PAUSE_MS
        session.renewed = now if is_sure and is_over else Moment(renewed.low, now.high)
        session.written = now

    def _read_batch(self, call: Call, gets: tuple[str, ...]) -> Answer:
        session = self.sessions.get(call.sid)
        if _matches(call.if_none_match, session.tag if session else None, default=False):
            self._accessed(session, is_sure=False)
            raise Refusal(412, "precondition_failed", session.tag if session else None)
        return self._read(call, session, lambda: _batch(session, gets, 0))

    def _set(self, session: Session, key: str, value: tuple[str, bytes], ttl: float | None) -> None:
        media_type, data = value
        content = Text(data) if "json" in media_type else data
        end = End([(self.now, round(ttl * 1000))] if ttl else [])
        session.put(key, content, media_type, end)

    def _merged_values(
        self, session: Session | None, merges: dict[str, Any]
    ) -> dict[str, tuple[Text, str, End]]:
        """Return what patches make of values; each keeps its content type and its own expiry."""
        merged = {}
        for key, patch in merges.items():
            value = session.state.get(key) if session else None
            content = value.content if value else Text(b"{}")
            if isinstance(content, bytes):
                raise Refusal(422, "not_mergeable")
            tree = merge(content.known, patch)
            result = Text(tree) if isinstance(tree, bytes) else Text(None, tree)
            media_type, end = (value.media_type, value.end) if value else (JSON, End([]))
            merged[key] = (result, media_type, end)
        return merged

    # --- Repetitions ------------------------------------------------------------------------------

    def _replayed(self, call: Call) -> Answer | None:
        session = self.sessions.get(call.sid)
        if session is None or call.key not in session.calls:
            return None
        fingerprint, answer, gets = session.calls[call.key]
        if fingerprint != call.fingerprint:
            return Answer(status=422, code="idempotency_key_reused")
        if isinstance(answer.body, dict) and "values" in answer.body:
            answer = replace(answer, body=answer.body | {"values": _values(session, gets)})
        return replace(answer, end=answer.end and session.end, is_replayed=True)

    def _remember(self, call: Call, answer: Answer) -> None:
        session = self.sessions.get(call.sid)
        is_kept = answer.status < 300 or answer.status in {404, 412, 413}
        if session is None or not call.key or not is_kept:
            return
        session.calls[call.key] = (call.fingerprint, answer, tuple(call.args.get("get", ())))
        for key in list(session.calls)[:-CALLS_REMEMBERED]:
            del session.calls[key]


def _is_read(call: Call) -> bool:
    """Whether a batch only gets: it is not remembered, whatever key it has."""
    args = call.args
    writes = args.get("set") or args.get("merge") or call.settings
    return call.operation == "write_state" and bool(args.get("get")) and not writes


def _matches(wanted: str | None, current: Tag | Mark | None, *, default: bool) -> bool:
    if wanted is None:
        return default
    return current is not None and wanted in {"*", current.text}


def _seqs(session: Session, count: int) -> dict[str, object]:
    first, last = session.last_seq - count + 1, session.last_seq
    return {
        "first_seq": first if count else None,
        "last_seq": last if count else None,
        "count": count,
    }


def _batch(session: Session | None, gets: tuple[str, ...], deleted: int) -> dict[str, object]:
    tag = session.tag if session else None
    return {"values": _values(session, gets), "deleted": deleted, "etag": tag}


def _values(session: Session | None, gets: tuple[str, ...]) -> dict[str, object]:
    held = session.state if session else {}
    return {key: held[key].document() if key in held else None for key in gets}
