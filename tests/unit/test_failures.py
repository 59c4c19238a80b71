"""How Redis fails, in words that anyone may read, and with an outcome that is true."""

import logging
import socket
import ssl

import pytest
from redis import exceptions as redis_errors

from service.clock import SystemClock
from service.errors import Outcome, StoreFull, Unavailable
from service.store import Link, RedisTarget, Watch
from service.store.failures import RedisFailure, translate
from tests.servers import HOST, free_port

SECRET = "open-sesame"
CHECK_TLS = "is redis:// or rediss:// right in REDIS_URL?"


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def detail(failure: RedisFailure) -> str:
    return failure.to_service_error().detail


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (redis_errors.BusyLoadingError("LOADING"), "Redis is loading its data."),
        (redis_errors.AuthenticationError(SECRET), "Redis refused the password or user."),
        (redis_errors.NoPermissionError(SECRET), "may not run scripts"),
        (redis_errors.ReadOnlyError("READONLY replica"), "read-only replica"),
        (redis_errors.ResponseError("MISCONF x"), "cannot write to its disk"),
        (redis_errors.ResponseError("NOREPLICAS x"), "too few replicas"),
        (redis_errors.ResponseError("BUSY script"), "busy with a script"),
        (redis_errors.ConnectionError("max number of clients reached"), "client limit"),
        (redis_errors.ResponseError(SECRET), "answered with an error."),
        (redis_errors.ResponseError("WRONGTYPE x"), "another program uses a key"),
        (redis_errors.InvalidResponse(SECRET), "connection lost."),
        (caused(redis_errors.ConnectionError(), ConnectionRefusedError()), "connection refused."),
        (caused(redis_errors.ConnectionError(), socket.gaierror()), "host name cannot be found."),
        (caused(redis_errors.ConnectionError(), UnicodeError()), "host name cannot be found."),
        (caused(redis_errors.ConnectionError(), ssl.SSLError()), "no TLS with this Redis"),
        (caused(redis_errors.ConnectionError(), ssl.SSLCertVerificationError()), "not trusted"),
        (BrokenPipeError(), "connection lost."),
        (TimeoutError(), "timed out."),
    ],
)
def test_every_failure_has_its_words(error: Exception, words: str) -> None:
    told = detail(translate(error, was_sent=True))

    assert words in told
    assert SECRET not in told


def test_a_full_redis_is_a_matter_of_its_own() -> None:
    error = redis_errors.OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'")

    assert isinstance(translate(error, was_sent=True).to_service_error(), StoreFull)


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        redis_errors.ConnectionError("Connection closed by server."),
        redis_errors.InvalidResponse("Protocol error"),
    ],
)
def test_silence_while_connecting_asks_for_the_scheme(error: Exception) -> None:
    assert detail(translate(error, was_sent=False, is_greeting=True)).endswith(CHECK_TLS)
    assert CHECK_TLS not in detail(translate(error, was_sent=False))


@pytest.mark.parametrize(
    ("error", "was_sent", "outcome", "may_be_repeated"),
    [
        (redis_errors.ConnectionError(), False, Outcome.NOT_APPLIED, True),
        (redis_errors.ConnectionError(), True, Outcome.UNKNOWN, False),
        (TimeoutError(), True, Outcome.UNKNOWN, False),
        (redis_errors.BusyLoadingError(), True, Outcome.NOT_APPLIED, True),
        (redis_errors.ResponseError("READONLY"), True, Outcome.NOT_APPLIED, False),
        (redis_errors.AuthenticationError(), False, Outcome.NOT_APPLIED, False),
    ],
)
def test_only_what_cannot_be_done_twice_is_repeated(
    error: Exception, outcome: Outcome, *, was_sent: bool, may_be_repeated: bool
) -> None:
    failure = translate(error, was_sent=was_sent)
    told = failure.to_service_error()

    assert isinstance(told, Unavailable)
    assert told.outcome is outcome
    assert failure.may_be_repeated is may_be_repeated


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        f"not a url with {SECRET}",
        f"http://:{SECRET}@{HOST}",
        f"redis://:{SECRET}@{HOST}:port",
        f"redis://:{SECRET}@{HOST}?protocol=7",
        f"redis://:{SECRET}@{HOST}?retry=3",
        f"redis://:{SECRET}@{HOST}?{SECRET}=1",
        f"rediss://:{SECRET}@{HOST}?ssl_cert_reqs=maybe",
    ],
)
async def test_a_url_that_cannot_be_read_is_told_at_each_call(url: str | None) -> None:
    link = Link(RedisTarget(url=url))
    for _ in range(2):
        with pytest.raises(Unavailable) as raised:
            await link.command("PING")
        assert raised.value.detail.endswith("REDIS_URL is missing or cannot be read.")
        assert raised.value.outcome is Outcome.NOT_APPLIED
    assert SECRET not in repr(link)


async def test_each_way_of_failing_is_logged_once_an_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    link = Link(RedisTarget(url=f"redis://{HOST}:{free_port()}"))
    watch = Watch(link, SystemClock(), connections_max=4)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            await watch.look()

    assert [record.message for record in caplog.records] == [
        "Redis is not available: connection refused. Trying again until it is there."
    ]
    assert watch.status.last_error == "Redis is not available: connection refused."


@pytest.mark.parametrize(
    ("text", "is_lasting", "is_alone"),
    [("ERR x: WRONGTYPE y", True, True), ("ERR x", False, True), ("READONLY x", False, False)],
)
def test_what_only_concerns_one_session_is_known(
    text: str, *, is_lasting: bool, is_alone: bool
) -> None:
    error = translate(redis_errors.ResponseError(text), was_sent=True).to_service_error()

    assert (error.is_lasting, error.is_alone) == (is_lasting, is_alone)
