"""The chat of a crash rehearsal: lines of a file, or made up, each with an id of its own."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path


class ChatError(Exception):
    """The chat cannot be read; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One line of the chat: `text` is its JSON with a member `id` that no other has."""

    id: str
    session: str
    text: bytes


def read_chat(path: Path) -> list[dict[str, object]]:
    """Read lines of {sender, text, ts}. Raises ChatError."""
    lines = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            parsed = json.loads(line)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise ChatError(f"{path}:{number} is no JSON object")
        lines.append(parsed)
    if not lines:
        raise ChatError(f"{path} is empty")
    return lines


def make_chat(count: int) -> list[dict[str, object]]:
    """Make up lines that look like a chat: always the same ones."""
    dice = random.Random(1)  # noqa: S311  # data, not a secret
    senders = ("ada", "Grace H.", "Zoë", "李雷", "bot-7")
    words = (
        "hello",
        "did",
        "you",
        "try",
        '"quotes"',
        "back\\slash",
        "naïve",
        "日本語",
        "🙂",
        "1e3",
    )
    return [
        {
            "sender": dice.choice(senders),
            "text": " ".join(dice.choices(words, k=dice.randint(1, 40))),
            "ts": 1_700_000_000 + number,
        }
        for number in range(count)
    ]


def make_messages(
    chat: Sequence[dict[str, object]], count: int, sessions: int
) -> Iterator[Message]:
    """Give each line an id and a session, in turn; a short chat begins again."""
    for number, line in enumerate(islice(cycle(chat), count)):
        key = f"m{number}"
        text = json.dumps(line | {"id": key}, ensure_ascii=False).encode()
        yield Message(id=key, session=f"chat-{number % sessions}", text=text)
