"""The usual service: FastAPI, pydantic and redis.asyncio, a list a chat, a hash a state.

Arguments: PORT REDIS_URL.
Without what the service does beyond it: no key, no limits, no dedupe, no conditions, no deadlines.
"""

import json
import sys
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from redis.asyncio import Redis

from scripts.benchmark.peers.server import serve

TTL_SECONDS = 2_592_000


class Append(BaseModel):
    """The body of an append."""

    messages: list[dict[str, Any]]


class Batch(BaseModel):
    """The body of a state batch."""

    get: list[str] = []
    set: dict[str, Any] = {}


def make_app(redis_url: str) -> FastAPI:
    """Make the app on a pool of its own."""
    app = FastAPI()
    # With the client's default of 100, 256 callers meet "Too many connections" as 500s.
    redis: Redis = Redis.from_url(redis_url, decode_responses=True, max_connections=1_000)
    add_messages(app, redis)
    add_state(app, redis)
    return app


def add_messages(app: FastAPI, redis: Redis) -> None:
    """Append and read."""

    @app.post("/sessions/{session}/messages", status_code=201)
    async def append(session: str, body: Append) -> dict[str, int]:
        key = f"chat:{session}"
        async with redis.pipeline() as pipe:
            pipe.rpush(key, *[json.dumps(message) for message in body.messages])
            pipe.expire(key, TTL_SECONDS)
            length, _ = await pipe.execute()
        return {"length": length}

    @app.get("/sessions/{session}/messages")
    async def read(session: str, last: int = 50) -> dict[str, list[Any]]:
        texts = await redis.lrange(f"chat:{session}", -last, -1)
        return {"messages": [json.loads(text) for text in texts]}

    # Many leave the type of the answer out; FastAPI then walks through it in Python.
    app.get("/plain/{session}/messages", response_model=None)(read)


def add_state(app: FastAPI, redis: Redis) -> None:
    """The batch, and the whole turn."""

    @app.post("/sessions/{session}/state")
    async def batch(session: str, body: Batch) -> dict[str, dict[str, Any]]:
        key = f"state:{session}"
        async with redis.pipeline() as pipe:
            if body.set:
                pipe.hset(key, mapping={name: json.dumps(it) for name, it in body.set.items()})
                pipe.expire(key, TTL_SECONDS)
            if body.get:
                pipe.hmget(key, body.get)
            found = await pipe.execute()
        texts = found[-1] if body.get else []
        values = [json.loads(text) if text else None for text in texts]
        return {"values": dict(zip(body.get, values, strict=True))}

    @app.get("/sessions/{session}")
    async def turn(session: str, last: int = 50) -> dict[str, Any]:
        async with redis.pipeline() as pipe:
            pipe.hgetall(f"state:{session}")
            pipe.lrange(f"chat:{session}", -last, -1)
            state, messages = await pipe.execute()
        return {
            "state": {name: json.loads(text) for name, text in state.items()},
            "messages": [json.loads(text) for text in messages],
        }


if __name__ == "__main__":
    serve(make_app(sys.argv[2]), int(sys.argv[1]))
