"""Secrets and addresses are planted, and looked for wherever something is told."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
from httpx import Response

from service.settings import load_settings
from tests.conftest import run_app
from tests.polling import eventually
from tests.servers import Server

KEY = "planted-api-key-0123456789"
OTHER_KEYS = ("planted-ro-key-0123456789", "planted-admin-key-0123456789")
API_KEYS = f"one:ro:{OTHER_KEYS[0]},two:admin:{OTHER_KEYS[1]}"
PASSWORD = "planted-redis-password"
USER = "planted-user"


@pytest.fixture
def told(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[list[str]]:
    """Collect what is told; no secret may be in it, nor in what was logged or printed."""
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    yield texts
    texts += [caplog.text, *capfd.readouterr()]
    assert any(texts)
    for secret in (KEY, *OTHER_KEYS, PASSWORD, USER, "127.0.0.1:", "planted.invalid"):
        assert not [text for text in texts if secret in text]


@pytest.mark.parametrize("host", ["", "planted.invalid"])
async def test_no_secret_is_told(own_server: Server, told: list[str], host: str) -> None:
    own_server.restart("--requirepass", "another-password")
    target = f"{host or '127.0.0.1'}:{own_server.port}"
    url = f"redis://{USER}:{PASSWORD}@{target}/0"
    settings = load_settings({"REDIS_URL": url, "API_KEY": KEY, "API_KEYS": API_KEYS})
    told += [repr(settings), str(settings), repr(settings.credentials)]

    async with run_app(settings) as api:

        async def health() -> Response:
            return await api.get("/health")

        answer = await eventually(health, lambda r: bool(r.json()["redis"]["lastError"]))
        told += [answer.text, repr(answer.headers)]
        assert str(own_server.port) not in answer.text
        calls = [("GET", "/v1/sessions/a"), ("PUT", "/v1/sessions/a"), ("GET", "/x")]
        answers = await asyncio.gather(
            *(
                api.request(method, path, headers={"Authorization": f"Bearer {key}"})
                for key in (KEY, KEY + "x", *OTHER_KEYS)
                for method, path in calls
            )
        )
        assert {response.status_code for response in answers} == {401, 403, 404, 503}
        told += [text for each in answers for text in (each.text, repr(each.headers))]
