"""What a session takes in the process: the hot tier filled through the API, and Python's dicts."""

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from scripts.benchmark import generator
from scripts.benchmark.calls import request
from scripts.benchmark.corpus import Chat, Shape
from scripts.benchmark.cpu import rss_bytes
from scripts.benchmark.processes import ROOT, module, running_service

READERS = 16
DYNO_MB = 512
"""Of a larger quota more of what is read stays rendered: there is room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HotTier:
    """What /health told of a full hot tier, and what dicts of the same sessions took."""

    sessions: int
    tier_bytes: int
    rss_growth: int
    rss_empty: int
    dict_bytes: int


def weigh_hot_tier(redis_port: int, shape: Shape, chat: Chat) -> HotTier:
    """Read every session of a filled Redis once through a fresh process."""
    length = shape.lengths[0]
    with running_service(redis_port, MEMORY_QUOTA_MB=str(DYNO_MB)) as service:
        before = rss_bytes(service.pid)
        reads = (request("GET", f"/v1/sessions/{s}/messages?last={length}") for s in shape.sessions)
        generator.drive(service.port, reads, connections=READERS)
        tier, after = health(service.port)["hotTier"], rss_bytes(service.pid)
    sessions = int(tier["sessions"])
    return HotTier(
        sessions=sessions,
        tier_bytes=int(tier["bytes"]),
        rss_growth=after - before,
        rss_empty=before,
        dict_bytes=_dict_bytes(sessions, length, chat),
    )


def health(port: int) -> dict[str, Any]:
    """Read /health."""
    answer = generator.ask(port, request("GET", "/health"))
    document: dict[str, Any] = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    return document


def _dict_bytes(sessions: int, messages: int, chat: Chat) -> int:
    done = subprocess.run(
        module("scripts.benchmark.dicts", sessions, messages),
        input=b"\n".join(chat.lines),
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    return int(done.stdout.split()[0])
