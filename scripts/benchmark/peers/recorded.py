"""The answers of ours that the bare peers repeat, by the name of the operation."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

HEAD_END = b"\r\n\r\n"
OF_THE_SERVER = (b"date", b"server", b"content-length", b"connection")
"""Header lines that the server, or Starlette, adds by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One answer, without what the server adds."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def parse(answer: bytes) -> Recorded:
    """Split a whole answer of HTTP/1.1 with a length."""
    head, body = answer.split(HEAD_END, 1)
    first, *lines = head.split(b"\r\n")
    pairs = [
        (name.strip().lower(), text.strip()) for name, _, text in (x.partition(b":") for x in lines)
    ]
    headers = [pair for pair in pairs if pair[0] not in OF_THE_SERVER]
    return Recorded(status=int(first.split()[1]), headers=headers, body=body)


def save(path: Path, answers: dict[str, bytes]) -> None:
    """Keep whole answers in a file."""
    path.write_text(json.dumps({n: base64.b64encode(a).decode() for n, a in answers.items()}))


def load(path: Path) -> dict[str, Recorded]:
    """Read them back."""
    return {n: parse(base64.b64decode(a)) for n, a in json.loads(path.read_text()).items()}
