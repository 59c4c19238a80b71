"""What is stored to be weighed: chat, logins, and the calls that write them as a bot does."""

import base64
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from scripts.benchmark.calls import PRE_KEYS, request
from scripts.chat import make_chat, read_chat

SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "chat_sample.jsonl"
MADE_UP_LINES = 20_000
MOST_PER_CALL = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """Lines of chat as JSON texts, and where they are from."""

    lines: list[bytes]
    source: str

    @property
    def bytes_per_line(self) -> float:
        """The mean."""
        return sum(map(len, self.lines)) / len(self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How many sessions of how many messages; `lengths` has one for each session."""

    name: str
    lengths: tuple[int, ...]

    @property
    def messages(self) -> int:
        """Of all sessions."""
        return sum(self.lengths)

    @property
    def sessions(self) -> list[str]:
        """Their ids."""
        return [f"{self.name.replace(' ', '')}-{n}" for n in range(len(self.lengths))]


def even(sessions: int, messages: int) -> Shape:
    """Make sessions of one length."""
    return Shape(name=f"{sessions:,} x {messages:,}", lengths=(messages,) * sessions)


def uneven(sessions: int) -> Shape:
    """Make sessions of 1 to 199 messages, always the same ones."""
    dice = random.Random(1)  # noqa: S311 # data, not a secret
    lengths = tuple(dice.randint(1, 199) for _ in range(sessions))
    return Shape(name=f"{sessions:,} x 1..199", lengths=lengths)


def load_chat(path: Path | None) -> Chat:
    """Read the given lines, else the sample beside this checkout, else make some up."""
    if path is None and not SAMPLE.exists():
        made = [json.dumps(it, ensure_ascii=False).encode() for it in make_chat(MADE_UP_LINES)]
        return Chat(lines=made, source="made-up lines")
    chosen = path or SAMPLE
    lines = [json.dumps(it, ensure_ascii=False).encode() for it in read_chat(chosen)]
    return Chat(lines=lines, source=chosen.name)


def histories(shape: Shape, lines: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Give each session lines that follow each other."""
    source = cycle(lines)
    for name, length in zip(shape.sessions, shape.lengths, strict=True):
        yield name, list(islice(source, length))


def turns(shape: Shape, lines: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Give 1 to 10 messages to each session in turn, until each has its length."""
    dice = random.Random(2)  # noqa: S311 # data, not a secret
    left = {name: iter(history) for name, history in histories(shape, lines)}
    while left:
        for name, history in list(left.items()):
            if said := list(islice(history, dice.randint(1, MOST_PER_CALL))):
                yield name, said
            else:
                del left[name]


def append(name: str, messages: Sequence[bytes], *, dedupe: str = "", key: str = "") -> bytes:
    """Write the call that appends messages."""
    member = b'"dedupe":"%s",' % dedupe.encode() if dedupe else b""
    body = b'{%s"messages":[%s]}' % (member, b",".join(messages))
    headers = f"Idempotency-Key: {key}\r\n" if key else ""
    return request("POST", f"/v1/sessions/{name}/messages", body, headers)


def login(number: int) -> dict[str, str]:
    """Make the state of a WhatsApp login: credentials and pre-keys, as texts of JSON."""
    dice = random.Random(number)  # noqa: S311 # data, not a secret

    def buffer(size: int) -> dict[str, str]:
        return {"type": "Buffer", "data": base64.b64encode(dice.randbytes(size)).decode()}

    def pair() -> str:
        return json.dumps({"public": buffer(32), "private": buffer(32)}, separators=(",", ":"))

    credentials = {
        "noiseKey": {"public": buffer(32), "private": buffer(32)},
        "signedIdentityKey": {"public": buffer(32), "private": buffer(32)},
        "signedPreKey": {"keyPair": {"public": buffer(32), "private": buffer(32)}, "keyId": 1},
        "registrationId": dice.randint(1, 16_383),
        "advSecretKey": base64.b64encode(dice.randbytes(32)).decode(),
        "me": {"id": f"{dice.randint(10**11, 10**12)}:7@s.whatsapp.net", "name": "~"},
        "account": {"details": base64.b64encode(dice.randbytes(330)).decode()},
        "platform": "android",
    }
    texts = {"creds": json.dumps(credentials, separators=(",", ":"))}
    return texts | {f"pre-key-{n}": pair() for n in range(1, PRE_KEYS + 1)}
