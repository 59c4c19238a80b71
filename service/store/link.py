"""The way to Redis: few connections, one deadline a call, retries of what may be repeated.

A later tier may pipeline; what it has to keep is `Link.run`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, RedisError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from service.errors import Outcome, Unavailable
from service.model import TlsVerify
from service.store.failures import RedisFailure, translate
from service.store.scripts import Script

CALL_SECONDS = 1.5
RETRY_SECONDS = 1.0
CONNECT_SECONDS = 1.0

Argument = bytes | str | int
Reply = list[Any]
"""A reply of Redis: nested lists of bytes, int and None, checked where it is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTarget:
    """Where Redis is and how it may be spoken to; the URL holds a password."""

    url: str | None = field(repr=False)
    tls_verify: TlsVerify = TlsVerify.FULL
    tls_ca: Path | None = None
    max_connections: int = 4


class Link:
    """Runs commands and scripts on at most `max_connections` connections."""

    def __init__(self, target: RedisTarget) -> None:
        """Connect nothing yet; a URL that cannot be read is told at each call."""
        self._factory = _connection_factory(target)
        self._places = asyncio.Semaphore(target.max_connections)
        self._idle: list[AbstractConnection] = []
        self.is_answering = False

    @property
    def is_tls_verified(self) -> bool | None:
        """Whether the server's certificate is checked; None without TLS."""
        probe = self._factory() if self._factory else None
        if not isinstance(probe, SSLConnection):
            return None
        return bool(probe.cert_reqs)

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Argument]) -> Reply:
        """Run a script by its SHA-1, by its text if the server does not know it.

        Raises ServiceError: Unavailable or StoreFull.
        """

        async def run_on(connection: AbstractConnection) -> object:
            try:
                return await _ask(connection, "EVALSHA", script.sha, len(keys), *keys, *args)
            except NoScriptError:
                return await _ask(connection, "EVAL", script.source, len(keys), *keys, *args)

        call = _Call(run_on, is_repeatable=not script.writes)
        reply = await self._complete(call)
        if not isinstance(reply, list) or not reply:
            raise Unavailable("What answers is no Redis.", outcome=Outcome.UNKNOWN)
        return reply

    async def command(self, *args: Argument) -> object:
        """Run one plain command that may be repeated. Raises ServiceError."""
        return await self._complete(_Call(lambda connection: _ask(connection, *args)))

    async def aclose(self) -> None:
        """Close every idle connection."""
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)

    async def _complete(self, call: "_Call") -> object:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                reply = await self._retried(call)
        except TimeoutError as error:
            # Waiting for one of our own connections says nothing of Redis.
            self.is_answering = self.is_answering and not call.has_place
            raise call.ran_out(error).to_service_error() from None
        except RedisFailure as failure:
            is_shut_out = isinstance(failure.__cause__, AuthenticationError | BusyLoadingError)
            self.is_answering = failure.was_refused and not is_shut_out
            raise failure.to_service_error() from None
        self.is_answering = True
        return reply

    async def _retried(self, call: "_Call") -> object:
        attempts = AsyncRetrying(
            retry=retry_if_exception(call.may_be_repeated),
            wait=wait_random_exponential(multiplier=0.02, max=0.25),
            # While Redis is known to be away nobody waits for more than one try.
            stop=stop_after_delay(RETRY_SECONDS if self.is_answering else 0),
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                return await self._attempt(call)
        raise AssertionError  # pragma: no cover - tenacity returns or raises

    async def _attempt(self, call: "_Call") -> object:
        call.was_sent = False  # an earlier try never left, or was refused
        async with self._places:
            call.has_place = True
            connection = self._take()
            is_clean = False
            try:
                await _ensure_connected(connection)
                call.was_sent = True
                reply = await call.run_on(connection)
                is_clean = True
            except (RedisError, OSError) as error:
                failure = call.failed(error, is_greeting=not call.was_sent)
                is_clean = failure.was_refused
                raise failure from error
            finally:
                # A reply that is still under way must never meet the next caller.
                if not is_clean:
                    await connection.disconnect(nowait=True)
                self._idle.append(connection)
            return reply

    def _take(self) -> AbstractConnection:
        if self._factory is None:
            raise RedisFailure(
                "REDIS_URL is missing or cannot be read",
                was_sent=False,
                was_refused=False,
                is_passing=False,
            )
        return self._idle.pop() if self._idle else self._factory()


@dataclass(slots=True)
class _Call:
    """One call: what to do on a connection, and whether a byte of it has left."""

    run_on: Callable[[AbstractConnection], Awaitable[object]]
    is_repeatable: bool = True
    has_place: bool = False
    was_sent: bool = False
    failure: RedisFailure | None = None

    def failed(self, error: Exception, *, is_greeting: bool = False) -> RedisFailure:
        # A call that changes nothing, or the same thing twice, is never of unknown outcome.
        was_sent = self.was_sent and not self.is_repeatable
        self.failure = translate(error, was_sent=was_sent, is_greeting=is_greeting)
        return self.failure

    def ran_out(self, error: TimeoutError) -> RedisFailure:
        """Tell why the time was not enough: an earlier try knows, if this one sent nothing."""
        if not self.has_place:
            return RedisFailure(
                "all connections to it are busy", was_sent=False, was_refused=False, is_passing=True
            )
        return self.failure if self.failure and not self.was_sent else self.failed(error)

    def may_be_repeated(self, error: BaseException) -> bool:
        return isinstance(error, RedisFailure) and error.may_be_repeated


async def _ask(connection: AbstractConnection, *args: Argument) -> object:
    await connection.send_command(*args, check_health=False)
    return await connection.read_response(disable_decoding=True)


async def _ensure_connected(connection: AbstractConnection) -> None:
    """Connect, or connect anew if the server has closed an idle connection meanwhile."""
    if connection.is_connected and await connection.can_read():
        await connection.disconnect(nowait=True)
    await connection.connect()  # type: ignore[no-untyped-call] # redis-py has it bare


def _connection_factory(target: RedisTarget) -> Callable[[], AbstractConnection] | None:
    if not target.url:
        return None
    options: dict[str, object] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": None,  # the deadline of the call is the only one
        "retry": Retry(NoBackoff(), 0),  # tenacity owns all retries
        "protocol": 2,
        "client_name": "ballast",
        "driver_info": None,
    }
    if target.url.startswith("rediss://"):
        options |= _tls_options(target)
    try:
        pool = ConnectionPool.from_url(target.url, **options)
        pool.make_connection()  # type: ignore[no-untyped-call] # the same
    except (ValueError, TypeError, AttributeError, RedisError):
        # An option in the URL that redis-py does not know, or takes for something else.
        return None
    return pool.make_connection


def _tls_options(target: RedisTarget) -> dict[str, object]:
    """Return redis-py's TLS options: "full" checks chain and name, "ca" the chain alone."""
    if target.tls_verify is TlsVerify.OFF:
        return {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    return {
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": target.tls_verify is TlsVerify.FULL,
        "ssl_ca_certs": str(target.tls_ca) if target.tls_ca else None,
    }
