"""Starts in bad surroundings: bound at once, honest, and well again without a restart."""

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import psutil  # type: ignore[import-untyped] # ships no types
import pytest
import trustme
from httpx import Response
from redis import Redis

from service.__main__ import _config
from service.settings import load_settings
from tests.processes import run_service, start_service, wait_until
from tests.servers import HOST, Server, free_port, start_server
from tests.tls import server_context, tls_proxy

PASSWORD = "open-sesame"
WRONG_PASSWORD = "close-barley"
API_KEY = "a-key-of-this-test"
HEAL_SECONDS = 3.0
LOOK_SECONDS = 3.0

CHECK_TLS = "is redis:// or rediss:// right in REDIS_URL?"
NO_URL = "REDIS_URL is missing or cannot be read"
NOT_TRUSTED = "the TLS certificate of Redis is not trusted"


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the cases of REDIS_URL are made of."""

    plain: Server
    tls_port: int
    refused_port: int
    silent_port: int
    authority: trustme.CA
    ca_path: Path

    def names(self) -> dict[str, object]:
        """What the texts of a case may name in braces."""
        return {
            "host": HOST,
            "plain": self.plain.port,
            "tls": self.tls_port,
            "refused": self.refused_port,
            "silent": self.silent_port,
            "ca": self.ca_path,
            "other_ca": self.ca_path.with_name("other.pem"),
        }


@dataclass(frozen=True, kw_only=True)
class Case:
    """An environment that cannot work, and what has to be said about it."""

    url: str = ""
    words: str
    environ: dict[str, str] = field(default_factory=dict)


CASES = {
    "missing": Case(words=NO_URL, environ={"DYNO": "web.1"}),
    "nonsense": Case(url="not a url", words=NO_URL),
    "port": Case(url="redis://{host}:port/0", words=NO_URL),
    "option": Case(url="redis://{host}:{plain}/0?protocol=7", words=NO_URL),
    "tls-option": Case(url="rediss://{host}:{tls}/0?ssl_cert_reqs=maybe", words=NO_URL),
    "host": Case(url="redis://no..such:6379/0", words="its host name cannot be found"),
    "refused": Case(url="redis://{host}:{refused}/0", words="connection refused"),
    "silent": Case(url="redis://{host}:{silent}/0", words="timed out"),
    "password": Case(
        url=f"redis://:{WRONG_PASSWORD}@{{host}}:{{plain}}/0",
        words="Redis refused the password or user",
    ),
    "no-password": Case(url="redis://{host}:{plain}/0", words="Redis refused the password or user"),
    "tls-to-plain": Case(url="rediss://{host}:{plain}/0", words=CHECK_TLS),
    "plain-to-tls": Case(url=f"redis://:{PASSWORD}@{{host}}:{{tls}}/0", words=CHECK_TLS),
    "untrusted": Case(url=f"rediss://:{PASSWORD}@{{host}}:{{tls}}/0", words=NOT_TRUSTED),
    "other-name": Case(
        url=f"rediss://:{PASSWORD}@localhost:{{tls}}/0",
        words=NOT_TRUSTED,
        environ={"REDIS_TLS_CA": "{ca}"},
    ),
    "other-authority": Case(
        url=f"rediss://:{PASSWORD}@{{host}}:{{tls}}/0",
        words=NOT_TRUSTED,
        environ={"REDIS_TLS_VERIFY": "ca", "REDIS_TLS_CA": "{other_ca}"},
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    authority, ca_path = trustme.CA(), tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_path))
    trustme.CA().cert_pem.write_to_path(str(ca_path.with_name("other.pem")))
    with start_server("valkey", "--requirepass", PASSWORD) as plain, socket.socket() as silent:
        silent.bind((HOST, 0))
        silent.listen()
        tls_port = free_port()
        with tls_proxy(tls_port, plain.port, server_context(authority, HOST)):
            yield Place(
                plain=plain,
                tls_port=tls_port,
                refused_port=free_port(),
                silent_port=silent.getsockname()[1],
                authority=authority,
                ca_path=ca_path,
            )


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a service in bad surroundings said."""

    answer: Response
    answer_seconds: float
    health: Response
    ready: Response
    lines: list[str]
    log: str


def ask(case: Case, place: Place) -> Told:
    """Start a case, let it fail several times, and listen."""
    texts = {"REDIS_URL": case.url, "API_KEY": API_KEY, **case.environ}
    environ = {key: text.format(**place.names()) for key, text in texts.items()}
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with start_service(**environ) as service:
        wait_until(
            lambda: service.health()["uptime"] > LOOK_SECONDS, seconds=10, what="several failures"
        )
        started = time.monotonic()
        answer = service.http.put("/v1/sessions/a", json={}, headers=headers)
        return Told(
            answer=answer,
            answer_seconds=time.monotonic() - started,
            health=service.http.get("/health"),
            ready=service.http.get("/health/ready"),
            lines=service.lines("Redis"),
            log=service.log,
        )


@pytest.fixture(scope="module")
def all_told(place: Place) -> dict[str, Told]:
    """Ask all cases at once: most of the time they wait."""
    with ThreadPoolExecutor(len(CASES)) as pool:
        told = pool.map(ask, CASES.values(), repeat(place))
        return dict(zip(CASES, told, strict=True))


@pytest.fixture(params=CASES)
def told(request: pytest.FixtureRequest, all_told: dict[str, Told]) -> tuple[Told, str]:
    """Give what was said in a case, and the words that have to be in it."""
    return all_told[request.param], CASES[request.param].words


def test_a_broken_start_answers_503_with_an_outcome(told: tuple[Told, str]) -> None:
    it, words = told

    assert it.answer_seconds < 2
    assert it.answer.status_code == 503
    assert it.answer.headers["Content-Type"] == "application/problem+json"
    assert int(it.answer.headers["Retry-After"]) >= 1
    assert it.answer.json()["outcome"] == "not_applied"
    assert words in it.answer.json()["detail"]


def test_a_broken_start_warns_on_health(told: tuple[Told, str]) -> None:
    it, words = told

    assert it.health.status_code == 200
    assert it.health.json()["status"] == "warn"
    assert it.health.json()["databaseConnected"] is False
    assert words in it.health.json()["redis"]["lastError"]
    assert it.ready.status_code == 503


def test_a_broken_start_is_told_in_one_line(told: tuple[Told, str]) -> None:
    it, words = told

    assert len(it.lines) == 1
    assert words in it.lines[0]
    assert "Traceback" not in it.log


def test_what_is_told_names_no_host_port_or_secret(place: Place, told: tuple[Told, str]) -> None:
    it, _ = told
    shown = " ".join((*it.lines, it.health.text, it.answer.text))

    for port in (place.plain.port, place.tls_port, place.refused_port, place.silent_port):
        assert not re.search(rf"port.{port}|:{port}\b", shown)
    assert not re.search(r"127\.0\.0\.1|localhost|no\.\.such", shown)
    for secret in (PASSWORD, WRONG_PASSWORD, API_KEY):
        assert secret not in shown + it.log


def test_it_heals_when_the_server_comes() -> None:
    with start_server("valkey") as server:
        server.stop()
        with start_service(REDIS_URL=server.url) as service:
            wait_until(lambda: service.redis()["lastError"], seconds=5, what="a first failure")
            server.restart()
            service.wait_until_connected(seconds=HEAL_SECONDS)
            wait_until(lambda: service.lines("Connected to Redis."), seconds=3, what="a line")


def test_it_heals_when_the_password_becomes_right() -> None:
    with start_server("valkey", "--requirepass", PASSWORD) as server:
        url = f"redis://:{WRONG_PASSWORD}@{HOST}:{server.port}/0"
        with start_service(REDIS_URL=url) as service:
            wait_until(lambda: service.redis()["lastError"], seconds=5, what="a first failure")
            with Redis.from_url(server.url) as client:
                client.config_set("requirepass", WRONG_PASSWORD)
            service.wait_until_connected(seconds=HEAL_SECONDS)


def test_it_heals_when_the_server_learns_tls(place: Place) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(start_server("valkey"))
        url = f"rediss://:{PASSWORD}@{HOST}:{server.port}/0"
        service = stack.enter_context(start_service(REDIS_URL=url, REDIS_TLS_CA=str(place.ca_path)))
        wait_until(
            lambda: CHECK_TLS in (service.redis()["lastError"] or ""),
            seconds=5,
            what="a TLS mismatch",
        )
        server.stop()
        with tls_proxy(server.port, place.plain.port, server_context(place.authority, HOST)):
            service.wait_until_connected(seconds=HEAL_SECONDS)


def test_it_heals_when_the_certificate_becomes_a_trusted_one(place: Place) -> None:
    port = free_port()
    url = f"rediss://:{PASSWORD}@{HOST}:{port}/0"
    with start_service(REDIS_URL=url, REDIS_TLS_CA=str(place.ca_path)) as service:
        with tls_proxy(port, place.plain.port, server_context(trustme.CA(), HOST)):
            wait_until(
                lambda: NOT_TRUSTED in (service.redis()["lastError"] or ""),
                seconds=5,
                what="a certificate that is not trusted",
            )
        with tls_proxy(port, place.plain.port, server_context(place.authority, HOST)):
            service.wait_until_connected(seconds=HEAL_SECONDS)


@pytest.mark.parametrize(
    ("host", "environ", "is_verified"),
    [
        (HOST, {"REDIS_TLS_CA": "{ca}"}, True),
        (HOST, {"REDIS_TLS_VERIFY": "full", "REDIS_TLS_CA": "{ca}"}, True),
        ("localhost", {"REDIS_TLS_VERIFY": "ca", "REDIS_TLS_CA": "{ca}"}, True),
        ("localhost", {"REDIS_TLS_VERIFY": "off"}, False),
        ("localhost", {"DYNO": "web.1"}, False),
    ],
)
def test_tls_is_checked_as_far_as_it_is_asked_for(
    place: Place, host: str, environ: dict[str, str], *, is_verified: bool
) -> None:
    url = f"rediss://:{PASSWORD}@{host}:{place.tls_port}/0"
    given = {name: text.format(ca=place.ca_path) for name, text in environ.items()}
    with start_service(REDIS_URL=url, API_KEY=API_KEY, **given) as service:
        wait_until(lambda: service.health()["databaseConnected"], seconds=3, what="a connection")
        assert service.redis()["tlsVerified"] is is_verified


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("HOST", "some where"),
        ("API_KEY", "sesame open!"),
        ("REDIS_TLS_VERIFY", "sometimes"),
        ("REDIS_MAX_CONNECTIONS", "many"),
        ("MEMORY_STANDARD_PERCENT", "most"),
        ("ENABLE_HEALTH_CHECK", "perhaps"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_names_itself(name: str, value: str) -> None:
    ended = run_service(**{name: value})

    assert ended.returncode == 2
    assert name in ended.stderr
    assert value not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_stops_the_start_with_a_line() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        ended = run_service(PORT=str(taken.getsockname()[1]))

    assert ended.returncode not in {0, 2}
    assert "address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_it_is_one_process_whatever_the_platform_wishes() -> None:
    with start_service(WEB_CONCURRENCY="2") as service:
        assert psutil.Process(service.process.pid).children(recursive=True) == []
        assert len(service.lines("Started server process")) == 1


def test_a_platform_is_served_on_all_addresses_and_a_desk_on_the_loopback() -> None:
    with start_service(DYNO="web.1") as on_platform, start_service() as at_desk:
        assert on_platform.lines(f"running on http://0.0.0.0:{on_platform.port}")
        assert at_desk.lines(f"running on http://127.0.0.1:{at_desk.port}")


def test_idle_connections_outlive_those_of_the_router() -> None:
    config = _config(None, load_settings({}))

    assert config.timeout_keep_alive == 95
    assert config.workers == 1
