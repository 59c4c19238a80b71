"""What the reference is made of: calls, answers, and a session as it is between two calls."""

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

from tests.agreement import GRACE_MS, End, Gen, Leaf, Mark, Moment, Tag, Text

JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call, with nothing symbolic in it."""

    operation: str
    sid: str
    args: dict[str, Any]
    if_match: str | None = None
    if_none_match: str | None = None
    key: str = ""
    fingerprint: tuple[object, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = self.args.get("settings", {})
        return found


@dataclass(kw_only=True)
class Answer:
    """What has to come back; `body` None = an empty one, `tag` and `end` are in the headers."""

    status: int
    body: object = None
    code: str = ""
    tag: Leaf | None = None
    end: End | None = None
    media_type: str = JSON
    is_write: bool = False
    is_replayed: bool = False


class Refusal(Exception):
    """The call is refused and has changed nothing."""

    def __init__(self, status: int, code: str, tag: Leaf | None = None) -> None:
        super().__init__(code)
        self.answer = Answer(status=status, code=code, tag=tag)


@dataclass
class Settings:
    """None = never; times in ms."""

    ttl: int | None
    touch: str
    max_age: int | None
    max_messages: int


@dataclass
class Message:
    at: Moment
    text: bytes


@dataclass
class Value:
    content: Text | bytes
    media_type: str
    mark: Mark
    end: End

    def document(self) -> object:
        if isinstance(self.content, Text):
            return self.content
        return {"$raw": b64encode(self.content).decode(), "type": self.media_type}


@dataclass
class Session:
    sid: str
    gen: Gen
    created: Moment
    updated: Moment
    renewed: Moment
    written: Moment
    settings: Settings
    rev: int = 1
    last_seq: int = 0
    dedupe: str = ""
    messages: dict[int, Message] = field(default_factory=dict)
    memory: dict[int, str] = field(default_factory=dict)
    state: dict[str, Value] = field(default_factory=dict)
    marks: dict[str, set[str]] = field(default_factory=dict)
    calls: dict[str, tuple[tuple[object, ...], Answer, tuple[str, ...]]] = field(
        default_factory=dict
    )

    @property
    def tag(self) -> Tag:
        return Tag(self.gen, self.rev)

    @property
    def end(self) -> End:
        sliding = [(self.renewed, self.settings.ttl)] if self.settings.ttl else []
        capped = [(self.created, self.settings.max_age)] if self.settings.max_age else []
        return End(sliding + capped)

    def document(self) -> dict[str, object]:
        return {
            "id": self.sid,
            "etag": self.tag,
            "created_at": self.created,
            "updated_at": self.updated,
            "expires_at": self.end,
            "ttl": seconds(self.settings.ttl),
            "touch": self.settings.touch,
            "max_age": seconds(self.settings.max_age),
            "max_messages": self.settings.max_messages,
            "message_count": len(self.messages),
            "state_key_count": len(self.state),
        }

    def put(self, key: str, content: Text | bytes, media_type: str, end: End) -> None:
        """Set a value anew: its ETag is one that this key never had."""
        mark = Mark(self.gen, self.marks.setdefault(key, set()))
        self.state[key] = Value(content, media_type, mark, end)

    def add(self, text: bytes, identity: str | None, at: Moment) -> None:
        self.last_seq += 1
        self.messages[self.last_seq] = Message(at, text)
        if identity is not None:
            self.memory[self.last_seq] = identity

    def remove(self, seqs: list[int]) -> None:
        """Remove messages; with them goes the memory of them."""
        for seq in seqs:
            del self.messages[seq]
            self.memory.pop(seq, None)

    def seqs_of(self, identity: str | None, window: int) -> list[int]:
        """Where that is remembered among the last seqs."""
        oldest = self.last_seq - window + 1
        return [seq for seq, known in self.memory.items() if known == identity and seq >= oldest]

    def message(self, seq: int) -> dict[str, object]:
        return {"seq": seq, "at": self.messages[seq].at, "message": self.messages[seq].text}


def seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def has_ended(session: Session, ms: int) -> bool:
    bounds = ending(session)
    return bounds is not None and bounds[1] <= ms


def ending(session: Session) -> tuple[int, int] | None:
    """Between which times it ends: not inside of the call that lets it end in the past."""
    bounds = session.end.bounds
    return bounds and (bounds[0], max(bounds[1], session.written.high + GRACE_MS))
