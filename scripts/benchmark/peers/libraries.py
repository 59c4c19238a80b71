"""The libraries that bots use in their own process.

Arguments: NAME REDIS_URL OPERATION CONNECTIONS SECONDS FILL.
Prints one line of JSON: the load, and the CPU of this process for an operation. With FILL sessions
above zero it only fills them, with 100 messages each from the standard input, and prints nothing.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from itertools import cycle
from typing import Any

from redis.asyncio import Redis

from scripts.benchmark.generator import summarise

TTL_SECONDS = 2_592_000
SESSIONS = 16
HISTORY = 60
Operation = Callable[[str], Awaitable[Any]]
Append = Callable[[str, dict[str, Any]], Awaitable[Any]]


def openai_agents(redis: Redis) -> tuple[Append, Operation]:
    """RedisSession of openai-agents."""
    from agents.extensions.memory import RedisSession  # noqa: PLC0415 # each peer alone

    def session(name: str) -> Any:  # noqa: ANN401 # not installed where types are checked
        return RedisSession(name, redis_client=redis, ttl=TTL_SECONDS)

    async def append(name: str, line: dict[str, Any]) -> None:
        await session(name).add_items([{"role": "user", "content": line["text"]}])

    async def read(name: str) -> Any:  # noqa: ANN401 # the same
        return await session(name).get_items(50)

    return append, read


def langchain(redis: Redis) -> tuple[Append, Operation]:
    """RedisChatMessageHistory of langchain-community; it blocks, so a bot calls it in threads."""
    from langchain_community.chat_message_histories import (  # noqa: PLC0415 # each peer alone
        RedisChatMessageHistory,
    )

    kept = redis.connection_pool.connection_kwargs
    url = f"redis://{kept['host']}:{kept['port']}/0"
    histories: dict[str, Any] = {}

    def history(name: str) -> Any:  # noqa: ANN401 # not installed where types are checked
        if name not in histories:
            histories[name] = RedisChatMessageHistory(name, url=url, ttl=TTL_SECONDS)
        return histories[name]

    async def append(name: str, line: dict[str, Any]) -> None:
        await asyncio.to_thread(history(name).add_user_message, line["text"])

    async def read(name: str) -> Any:  # noqa: ANN401 # the same
        return await asyncio.to_thread(lambda: history(name).messages[-50:])

    return append, read


def aiogram(redis: Redis) -> tuple[Append, Operation]:
    """RedisStorage of aiogram: the whole state is one JSON text, read and written back."""
    from aiogram.fsm.storage.base import StorageKey  # noqa: PLC0415 # each peer alone
    from aiogram.fsm.storage.redis import RedisStorage  # noqa: PLC0415 # the same

    storage = RedisStorage(redis, state_ttl=TTL_SECONDS, data_ttl=TTL_SECONDS)

    def key(name: str) -> Any:  # noqa: ANN401 # not installed where types are checked
        return StorageKey(bot_id=1, chat_id=int("".join(filter(str.isdigit, name))), user_id=1)

    async def append(name: str, line: dict[str, Any]) -> None:
        data = await storage.get_data(key(name))
        kept = [*data.get("messages", ()), line][-100:]
        await storage.set_data(key(name), {"messages": kept})

    async def read(name: str) -> Any:  # noqa: ANN401 # the same
        return (await storage.get_data(key(name)))["messages"][-50:]

    return append, read


LIBRARIES = {"openai-agents": openai_agents, "langchain-community": langchain, "aiogram": aiogram}


async def fill(append: Append, sessions: int) -> None:
    """Give each session 100 messages."""
    lines = cycle([json.loads(line) for line in sys.stdin])

    async def one(name: str) -> None:
        for _ in range(100):
            await append(name, next(lines))

    for number in range(sessions):
        await one(f"fill{number}")


async def measure(operation: Operation, connections: int, seconds: float) -> dict[str, float]:
    """Run the operation by so many workers for so long."""
    latencies: list[float] = []
    names = cycle(f"s{number}" for number in range(SESSIONS))
    started, cpu = time.perf_counter(), time.process_time()
    deadline = started + seconds

    async def work() -> None:
        while (now := time.perf_counter()) < deadline:
            await operation(next(names))
            latencies.append(time.perf_counter() - now)

    await asyncio.gather(*(work() for _ in range(connections)))
    cpu_us = (time.process_time() - cpu) / len(latencies) * 1e6
    return asdict(summarise(latencies, time.perf_counter() - started)) | {"cpu_us": cpu_us}


async def main() -> None:
    """Read the command line, fill or measure."""
    name, url, what, connections, seconds, sessions = sys.argv[1:]
    append, read = LIBRARIES[name](Redis.from_url(url))
    if int(sessions):
        await fill(append, int(sessions))
        return
    line = {"sender": "ada", "text": "x" * 110, "ts": 1_700_000_000}
    for number in range(SESSIONS):
        for _ in range(HISTORY):
            await append(f"s{number}", line)
    operation = (lambda name: append(name, line)) if what == "append" else read
    print(json.dumps(await measure(operation, int(connections), float(seconds))))


if __name__ == "__main__":
    asyncio.run(main())
