"""scripts/memctl against a real process: what an operator sees, and what if it does not work."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.processes import ROOT, Service, clean_environ, start_service
from tests.servers import Server, free_port, start_server

KEYS = {"API_KEYS": "default:rw:rw-key-1,default:admin:admin-key-1"}
ADMIN = {"BALLAST_KEY": "admin-key-1"}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with start_server("valkey") as redis, start_service(REDIS_URL=redis.url, **KEYS) as service:
        service.http.headers["Authorization"] = "Bearer admin-key-1"
        service.wait_until_connected()
        yield service


def memctl(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "memctl", *arguments],
        env=clean_environ(**environ),
        capture_output=True,
        text=True,
        check=False,
    )


def told(service: Service, *arguments: str) -> str:
    """What is printed with the key of an admin, at the port of the service."""
    done = memctl(*arguments, PORT=str(service.port), **ADMIN)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_status_tells_of_memory_without_a_key(service: Service) -> None:
    done = memctl("status", "--url", f"http://127.0.0.1:{service.port}/")

    assert done.returncode == 0
    for word in ("status     ok", "MiB of", "tier       normal, looked after by advanced", "leak "):
        assert word in done.stdout


@pytest.mark.parametrize("tier", ["standard", "emergency"])
def test_a_tier_is_run_and_shown_lever_by_lever(service: Service, tier: str) -> None:
    shown = told(service, tier)
    action = service.health()["memory"]["lastAction"]

    assert shown.splitlines()[0] == f"{tier} tier"
    assert shown.splitlines()[1].split() == ["lever", "before", "after", "freed", "returned", "ms"]
    assert all(lever["name"] in shown for lever in action["levers"])
    assert (action["tier"], action["requested"]) == (tier, True)
    assert f"last run   {tier} at" in told(service, "status")


def test_a_dry_run_does_nothing(service: Service) -> None:
    before = service.health()["memory"]["lastAction"]

    assert "standard tier, dry run" in told(service, "standard", "--dry-run")
    assert service.health()["memory"]["lastAction"] == before


def test_leak_shows_lines_of_code(service: Service) -> None:
    shown = told(service, "leak", "--seconds", "1", "--top", "3").splitlines()

    assert "are still there" in shown[0]
    assert shown[1].split() == ["bytes", "count", "line", "of", "code"]
    assert 1 <= len(shown[2:]) <= 3


@pytest.mark.parametrize(
    ("key", "words"), [({}, "401"), ({"API_KEY": "rw-key-1"}, "403"), ({}, "BALLAST_KEY")]
)
def test_a_key_that_may_not_is_told_what_to_do(
    service: Service, key: dict[str, str], words: str
) -> None:
    done = memctl("standard", PORT=str(service.port), **key)

    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert "key" in done.stderr


def test_a_wrong_figure_is_told_as_the_service_tells_it(service: Service) -> None:
    done = memctl("leak", "--seconds", "100", PORT=str(service.port), **ADMIN)

    assert done.returncode == 1
    assert "400" in done.stderr


def test_where_nobody_answers_it_says_so() -> None:
    done = memctl("status", PORT=str(free_port()))

    assert done.returncode == 1
    assert "nobody answers" in done.stderr
    assert "Connection refused" in done.stderr


def test_what_is_no_address_and_what_is_no_service_is_told(valkey_server: Server) -> None:
    assert "http://" in memctl("status", "--url", "localhost:8000").stderr
    done = memctl("status", "--url", valkey_server.url.replace("redis:", "http:"))
    assert done.returncode == 1
    assert done.stderr.startswith("scripts/memctl: ")


@pytest.fixture
def valkey_server() -> Iterator[Server]:
    with start_server("valkey") as server:
        yield server


def test_without_details_of_health_there_is_the_word_alone() -> None:
    with start_service(ENABLE_HEALTH_CHECK="false") as service:
        done = memctl("status", PORT=str(service.port))

    assert done.stdout.startswith("status     ")
    assert "ENABLE_HEALTH_CHECK" in done.stdout
