"""A plan of 25 MB that fills: the warning, the packing, and every message as it was sent."""

import asyncio
import re
from base64 import b64encode
from collections.abc import Iterator
from random import Random

import orjson
import pytest
from redis import Redis

from service.errors import StoreFull
from tests.processes import Service, start_service, wait_until
from tests.servers import Server, start_server
from tests.store_calls import Chat, open_store, ref_of

PLAN = ("--maxmemory", "25mb", "--maxmemory-policy", "noeviction")
PLAN_BYTES = 25 * 2**20
MESSAGES = 500
WORDS = ("hello", "could you look at my order of last week", "thank you", "it has not come yet")


@pytest.fixture
def plan() -> Iterator[Server]:
    """Run one flavour: tests/contract/test_redis_pressure.py has both."""
    with start_server("valkey", *PLAN) as server:
        yield server


def texts_of(chat: int) -> list[str]:
    return [
        f'{{"role": "user", "n": {n}, "text": "{WORDS[(n + chat) % 4]}", "x": 1.0}}'
        for n in range(MESSAGES)
    ]


def fullness(server: Server) -> float:
    with Redis.from_url(server.url) as redis:
        told = redis.info("memory")
    return float(told["used_memory"] / told["maxmemory"])


async def fill(server: Server, fraction: float) -> int:
    """Write history that nobody packs, as before a release that packs; return how many chats."""
    chats = 0
    async with open_store(server.url) as store:
        while fullness(server) < fraction:
            await Chat(store, ref_of(f"chat-{chats}")).say(*texts_of(chats))
            chats += 1
    return chats


def raw_texts(service: Service, chat: int) -> list[str]:
    """Every message of a chat, byte for byte."""
    path = f"/v1/sessions/chat-{chat}/messages"
    content = service.http.get(path, params={"last": MESSAGES}).text
    records = orjson.loads(content)["messages"]
    found, at = [], 0
    for text in texts_of(chat)[: len(records)]:
        at = content.find(text, at)
        found.append(text if at >= 0 else "missing")
        at += len(text)
    return found


def counters(service: Service) -> dict[str, int]:
    told: dict[str, int] = service.health()["counters"]
    return told


def test_old_history_is_packed_and_the_plan_has_room_again(plan: Server) -> None:
    chats = asyncio.run(fill(plan, 0.78))
    assert 0.75 < fullness(plan) < 0.85
    with start_service(REDIS_URL=plan.url) as service:
        wait_until(lambda: service.redis()["pressure"] == "standard", seconds=10, what="pressure")
        health = service.health()
        wait_until(lambda: counters(service)["redisSweeps"], seconds=30, what="a sweep")
        wait_until(lambda: service.redis()["pressure"] == "normal", seconds=10, what="room")
        after = service.redis()
        told = counters(service)
        assert all(raw_texts(service, chat) == texts_of(chat) for chat in range(chats))
        log = service.log
        assert service.health()["warnings"] == []

    (warning,) = health["warnings"]
    assert warning.startswith("Redis is 7")
    assert "MAX_MESSAGES" in warning
    assert health["status"] == "ok"
    assert after["usage"] < 60
    assert told["redisPackedSessions"] > 0
    # A sweep goes on until its tier is left, at 60 %; a slow machine sees that at once.
    assert told["redisSweepBytesBefore"] > 0.75 * PLAN_BYTES
    assert told["redisSweepBytesAfter"] < 0.61 * PLAN_BYTES
    assert told["redisDroppedMessages"] == 0
    assert log.count("⚠️ Redis usage high: 7") == 1
    assert log.count("Packed the history of") == 1
    assert log.count("Redis has room again") == 1


async def fill_with_noise(server: Server, fraction: float) -> int:
    """Write what packs badly; return how many chats."""
    random, chats = Random(1), 0
    async with open_store(server.url) as store:
        while fullness(server) < fraction:
            texts = [f'"{b64encode(random.randbytes(600)).decode()}"' for _ in range(MESSAGES)]
            try:
                await Chat(store, ref_of(f"chat-{chats}")).say(*texts)
            except StoreFull:
                break  # one more would have been too many
            chats += 1
    return chats


@pytest.mark.parametrize("environ", [{}, {"REDIS_EMERGENCY_KEEP_MESSAGES": "50"}])
def test_a_plan_that_is_full_of_what_cannot_shrink(plan: Server, environ: dict[str, str]) -> None:
    """Not one message goes unless the owner has said so; if so, no more than that."""
    sent = asyncio.run(fill_with_noise(plan, 0.99))
    with start_service(REDIS_URL=plan.url, **environ) as service:
        wait_until(lambda: counters(service)["redisSweeps"], seconds=30, what="a sweep")
        if environ:
            wait_until(lambda: service.redis()["usage"] <= 70, seconds=30, what="room")
            wait_until(lambda: service.redis()["pressure"] == "standard", seconds=10, what="calm")
        health, told = service.health(), counters(service)
        counts = [
            service.http.get(f"/v1/sessions/chat-{chat}").json()["message_count"]
            for chat in range(sent)
        ]
        log = service.log

    lost = sum(MESSAGES - count for count in counts)
    assert told["redisDroppedMessages"] == lost
    assert re.search(r"🚨 Redis usage critical: (9|10)\d\.", log)  # buffers count, too
    if environ:
        assert lost > 0
        assert all(50 <= count <= MESSAGES for count in counts)
        assert max(counts) == MESSAGES  # it ended as soon as there was room
        assert any(f"{lost} messages of" in warning for warning in health["warnings"])
        assert f"Dropped the oldest {lost} messages" in log
    else:
        assert lost == 0
        assert health["status"] == "warn"
        assert "507" in health["warnings"][0]
