"""Clients that write behind and not, over a wire that fails all the time, read what they wrote."""

import asyncio
from dataclasses import dataclass, field
from random import Random

import pytest
from httpx import AsyncClient, Response

from service import journal
from service.settings import load_settings
from tests.app.test_write_behind import ASYNC, counters
from tests.conftest import run_app
from tests.proxies import Valve, proxy
from tests.servers import Server

SECONDS = 2.0
KEYS = ("a", "b")


@dataclass(slots=True)
class Client:
    """The only one that uses its session; `said` and `state` are what it has been told is there."""

    api: AsyncClient
    session: str
    random: Random
    said: list[int] = field(default_factory=list)
    state: dict[str, int] = field(default_factory=dict)
    number: int = 0
    reads: int = 0
    is_done: bool = False

    async def send(
        self, method: str, path: str, body: object = None, *, may_wait: bool = False
    ) -> Response:
        """Send a call until it is answered; with a key, unless it waits and is sent once anyway."""
        headers = {"Idempotency-Key": f"{self.number}"}
        if may_wait and self.random.random() < 0.7:
            headers = ASYNC | (headers if self.random.random() < 0.2 else {})
        url = f"/v1/sessions/{self.session}{path}"
        while True:
            answer = await self.api.request(method, url, json=body, headers=headers)
            if answer.status_code != 503:
                assert answer.is_success or answer.status_code == 404, answer.text
                return answer
            await asyncio.sleep(0.01)

    async def say(self) -> None:
        numbers = [self.number * 10 + n for n in range(self.random.randint(1, 3))]
        body = {"messages": [{"n": n} for n in numbers]}
        await self.send("POST", "/messages", body, may_wait=True)
        self.said += numbers

    async def put(self) -> None:
        key = self.random.choice(KEYS)
        await self.send("PUT", f"/state/{key}", self.number, may_wait=True)
        self.state[key] = self.number

    async def batch(self) -> None:
        sets = {key: self.random.choice([None, self.number]) for key in KEYS}
        await self.send("POST", "/state", {"set": sets}, may_wait=True)
        self.state = {key: value for key, value in sets.items() if value is not None}

    async def pop(self) -> None:
        popped = (await self.send("DELETE", "/messages?last=1")).json()["messages"]
        assert [each["message"]["n"] for each in popped] == self.said[-1:]
        del self.said[-1:]

    async def delete(self) -> None:
        if self.random.random() < 0.2:
            await self.send("DELETE", "")
            self.said, self.state = [], {}

    async def read_messages(self) -> None:
        self.reads += 1
        page = (await self.send("GET", "/messages?last=1000")).json()
        assert [each["message"]["n"] for each in page["messages"]] == self.said

    async def read_state(self) -> None:
        self.reads += 1
        values = (await self.send("GET", "/state?values=true")).json()["values"]
        assert values == self.state

    async def live(self) -> None:
        calls = (
            *(self.say,) * 4, *(self.put, self.batch) * 2, self.pop, self.delete,
            self.read_messages, self.read_state,
        )  # fmt: skip
        while not self.is_done:
            self.number += 1
            await self.random.choice(calls)()


async def disturb(valve: Valve, random: Random) -> None:
    """Cut the wire, lose answers, hold up requests."""
    while True:
        await asyncio.sleep(random.random() * 0.1)
        trouble = random.choice(("cut", "mute", "hold"))
        valve.is_mute = trouble == "mute"
        if trouble == "hold":
            valve.hold()
        await asyncio.sleep(random.random() * 0.05)
        valve.restore()
        if trouble != "hold":
            valve.cut()


@pytest.mark.parametrize("seed", range(2))
async def test_every_read_sees_all_that_was_acknowledged_and_nothing_twice(
    own_server: Server, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(journal, "PAUSE_SECONDS", 0.02)
    async with (
        proxy(own_server.port) as valve,
        run_app(load_settings({"REDIS_URL": valve.url})) as api,
    ):
        clients = [Client(api, f"s{number}", Random(f"{seed}-{number}")) for number in range(4)]
        trouble = asyncio.create_task(disturb(valve, Random(seed)))
        lives = asyncio.gather(*(client.live() for client in clients))
        await asyncio.wait([lives], timeout=SECONDS)
        for client in clients:
            client.is_done = True
        await lives
        trouble.cancel()
        valve.restore()
        valve.cut()

        for client in clients:
            await client.read_messages()
            await client.read_state()
        found = await counters(api)
    assert found["journalTaken"] > 20
    assert found["journalRefused"] == 0
    assert sum(client.reads for client in clients) > 10
