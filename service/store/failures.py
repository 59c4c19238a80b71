"""Every way in which Redis fails, told in our own words; none of redis-py's errors get out.

The words name no host, port or secret: they are shown on /health and to clients.
"""

import asyncio
import socket
import ssl
from dataclasses import dataclass

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
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
    "cluster support disabled": "this Redis is no cluster: write redis:// in REDIS_URL",
    "BUSY ": "Redis is busy with a script",
    "max number of clients": "Redis has no free connection: its client limit is reached",
    "max clients": "Redis has no free connection: its client limit is reached",
    "Protected mode": "Redis is in protected mode: set a password or bind it to loopback",
    "WRONGTYPE": "another program uses a key of this session",
}
# redis-py takes the first word off the errors that it knows, as those of scripts on Redis 7 and
# Valkey are; Redis 6.2 wraps them, and the text above is found.
_REPLIES: dict[type[Exception], str] = {
    OutOfMemoryError: _REFUSALS["OOM command not allowed"],
    ReadOnlyError: _REFUSALS["READONLY"],
    MasterDownError: _REFUSALS["MASTERDOWN"],
    ClusterDownError: _REFUSALS["CLUSTERDOWN"],
    BusyLoadingError: "Redis is loading its data",
    AuthenticationError: "Redis refused the password or user",
    NoPermissionError: "this Redis user may not run scripts or commands that the service needs",
    TryAgainError: "a slot of the Redis cluster is being moved",
    AskError: "another node of the cluster has the slot: is it redis+cluster:// in REDIS_URL?",
    ResponseError: "Redis answered with an error",
}
_PASSING = (TryAgainError, ClusterDownError)
"""Answers that another try may not get."""


class NoPrimary(OSError):
    """The sentinels name none, or one that is none."""


class Replaying(OSError):
    """Redis has lost its memory, and is being given it again."""


class Unmapped(OSError):
    """Nobody has told yet which node of the cluster has a slot, or nobody has it."""


class Busy(TimeoutError):
    """A call could not leave in time, while those before it were answered."""


_CAUSES: dict[type[BaseException], str] = {
    NoPrimary: "its sentinels know of no primary",
    Replaying: "it had lost writes, which are being played again",
    Unmapped: "no node of its cluster says who has the slot",
    Busy: "the connection to it is busy",
    ssl.SSLCertVerificationError: (
        "the TLS certificate of Redis is not trusted: set REDIS_TLS_CA, or REDIS_TLS_VERIFY=off"
    ),
    ssl.SSLError: "no TLS with this Redis: check redis:// against rediss:// in REDIS_URL",
    ConnectionRefusedError: "connection refused",
    TimeoutError: "timed out",
    ConnectionResetError: "connection lost",
    BrokenPipeError: "connection lost",
    asyncio.IncompleteReadError: "connection lost",
    socket.gaierror: "its host name cannot be found",
    UnicodeError: "its host name cannot be found",
}
FULL = _REFUSALS["OOM command not allowed"]
_LASTING = frozenset({_REFUSALS["WRONGTYPE"]})
_ALONE = frozenset({_REFUSALS["WRONGTYPE"], _REPLIES[ResponseError]})

# A server that is spoken to in the wrong way mostly says nothing: it hangs, or hangs up.
_AMBIGUOUS = frozenset({"connection lost", "timed out"})
_GREETING = " before Redis said a word: is redis:// or rediss:// right in REDIS_URL?"


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
        end = "" if self.words.endswith("?") else "."
        error = Unavailable(f"Redis is not available: {self.words}{end}", outcome=outcome)
        error.is_lasting, error.is_alone = self.words in _LASTING, self.words in _ALONE
        return error


def translate(error: Exception, *, was_sent: bool, is_greeting: bool = False) -> RedisFailure:
    """Turn what redis-py, ssl or the socket raised, maybe while connecting, into a RedisFailure."""
    is_reply = isinstance(error, ResponseError | BusyLoadingError | AuthenticationError)
    words = _words(error)
    failure = RedisFailure(
        words=words + _GREETING if is_greeting and words in _AMBIGUOUS else words,
        was_sent=was_sent,
        was_refused=is_reply,
        is_passing=isinstance(error, _PASSING)
        or (
            not isinstance(error, ResponseError | AuthenticationError)
            and not any(isinstance(cause, ssl.SSLError) for cause in _chain(error))
        ),
    )
    failure.__cause__ = error
    return failure


def _words(error: Exception) -> str:
    for text, words in _REFUSALS.items():
        if text in str(error):
            return words
    for kind, words in _REPLIES.items():
        if isinstance(error, kind):
            return words
    return _connection_words(error)


def _connection_words(error: Exception) -> str:
    """Return the words of the innermost cause that is known."""
    for cause in reversed(_chain(error)):
        for kind, words in _CAUSES.items():
            if isinstance(cause, kind):
                return words
    return "connection lost"


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and what caused it, outermost first."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain
