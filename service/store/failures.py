"""Every way in which Redis fails, told in our own words; none of redis-py's errors get out.

The words name no host, port or secret: they are shown on /health and to clients.
"""

import asyncio
import ssl
from dataclasses import dataclass

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from service.errors import Outcome, ServiceError, StoreFull, Unavailable

# What a server says and redis-py has no class for, or hides in the text of a script's error.
_REFUSALS = {
    "OOM command not allowed": "Redis is full",
    "READONLY": "this Redis is a read-only replica",
    "MISCONF": "Redis cannot write to its disk and refuses writes",
    "NOREPLICAS": "Redis has too few replicas and refuses writes",
    "MASTERDOWN": "Redis lost its primary",
    "CLUSTERDOWN": "the Redis cluster is down",
    "BUSY ": "Redis is busy with a script",
    "max number of clients": "Redis has no free connection: its client limit is reached",
    "max clients": "Redis has no free connection: its client limit is reached",
    "Protected mode": "Redis is in protected mode: set a password or bind it to loopback",
}
FULL = _REFUSALS["OOM command not allowed"]


@dataclass(eq=False)
class RedisFailure(Exception):
    """A call that did not come back with a reply of ours; `words` are fit for anyone to read."""

    words: str
    was_sent: bool
    was_refused: bool
    is_passing: bool

    @property
    def may_be_repeated(self) -> bool:
        """Whether it may pass by itself, and trying again cannot do the work twice."""
        return self.is_passing and (self.was_refused or not self.was_sent)

    def to_service_error(self) -> ServiceError:
        """Return what the client is told (contract: "Absent is not unavailable")."""
        if self.words == FULL:
            return StoreFull("Redis is full: delete something, or give it more memory.")
        is_known = self.was_refused or not self.was_sent
        outcome = Outcome.NOT_APPLIED if is_known else Outcome.UNKNOWN
        return Unavailable(f"Redis is not available: {self.words}.", outcome=outcome)


def translate(error: Exception, *, was_sent: bool) -> RedisFailure:
    """Turn what redis-py, ssl or the socket raised into a RedisFailure."""
    is_reply = isinstance(error, ResponseError | BusyLoadingError | AuthenticationError)
    return RedisFailure(
        words=_words(error),
        was_sent=was_sent,
        was_refused=is_reply,
        is_passing=not isinstance(error, ResponseError | AuthenticationError)
        and _certificate_error(error) is None,
    )


def _words(error: Exception) -> str:
    for text, words in _REFUSALS.items():
        if text in str(error):
            return words
    match error:
        case BusyLoadingError():
            return "Redis is loading its data"
        case AuthenticationError():
            return "Redis refused the password or user"
        case NoPermissionError():
            return "this Redis user may not run scripts or commands that the service needs"
        case ResponseError():
            return "Redis answered with an error"
    return _connection_words(error)


def _connection_words(error: BaseException) -> str:
    certificate = _certificate_error(error)
    if certificate is not None:
        return (
            "the TLS certificate of Redis is not trusted: set REDIS_TLS_CA, or REDIS_TLS_VERIFY=off"
        )
    for cause in _chain(error):
        match cause:
            case ssl.SSLError():
                return "no TLS with this Redis: check redis:// against rediss:// in REDIS_URL"
            case ConnectionRefusedError():
                return "connection refused"
            case TimeoutError() | asyncio.TimeoutError():
                return "timed out"
            case ConnectionResetError() | BrokenPipeError() | asyncio.IncompleteReadError():
                return "connection lost"
            case OSError(errno=None):
                return "its host name cannot be found"
    return "connection lost" if isinstance(error, RedisError) else "connection failed"


def _certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    certificates = (e for e in _chain(error) if isinstance(e, ssl.SSLCertVerificationError))
    return next(certificates, None)


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and what caused it, outermost first."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain
