"""The one tree of errors that the service raises on purpose.

    ServiceError
    ├── BadInput              400  malformed, unknown or out of range
    ├── Unauthorized          401  no key, or a wrong one
    ├── Forbidden             403  the key's scope does not reach this far
    ├── NotFound              404  Redis said that it is not there
    ├── MethodNotAllowed      405  the path exists, the method does not
    ├── RequestTimeout        408  the body stopped coming
    ├── Conflict              409  it contradicts what the session already is
    ├── PreconditionFailed    412  If-Match or If-None-Match did not hold
    ├── TooLarge              413  a limit of the service
    ├── UnsupportedMediaType  415  a JSON route was sent something else
    ├── Unprocessable         422  well-formed, but what is there cannot take it
    ├── Locked                423  somebody else holds the lease
    ├── HeadersTooLarge       431  header lines or bytes
    ├── Unavailable           503  Redis or the process cannot do it now
    ├── StoreFull             507  Redis is at its maxmemory
    └── Internal              500  a defect of ours

`code` is stable: clients may compare it. Third-party exceptions are translated into this tree in
the module that imports the third party.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Outcome(StrEnum):
    """What a write that failed did to Redis."""

    NOT_APPLIED = "not_applied"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Fault:
    """One place in a request that is wrong: a JSON pointer (RFC 6901) and the reason."""

    pointer: str
    reason: str


def escaped(name: str) -> str:
    """Return a member's name as one reference token of a JSON pointer (RFC 6901, 3)."""
    return name.replace("~", "~0").replace("/", "~1")


class ServiceError(Exception):
    """The root: an HTTP status, a stable code, and words that say what to do."""

    status: ClassVar[int]
    title: ClassVar[str]
    default_code: ClassVar[str]

    is_replayed = False
    """Whether it is the answer to an earlier run of the same keyed call."""

    is_lasting = False
    """Whether another try would be refused alike, although the status says to try again."""

    is_alone = False
    """Whether it is about what this call found in Redis: others may fare better."""

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        """Keep `detail` for the client; `code` refines the class's own."""
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code


class BadInput(ServiceError):
    """The request is malformed; `faults` point at the places."""

    status = 400
    title = "Malformed request"
    default_code = "malformed"

    def __init__(self, detail: str, *faults: Fault, code: str | None = None) -> None:
        """Name every place that is wrong, not only the first."""
        super().__init__(detail, code=code)
        self.faults = faults


class Unauthorized(ServiceError):
    """No key was sent, or one that is not known."""

    status = 401
    title = "Not authenticated"
    default_code = "unauthorized"


class Forbidden(ServiceError):
    """The key is known, its scope is too small."""

    status = 403
    title = "Not allowed with this key"
    default_code = "forbidden"


class NotFound(ServiceError):
    """Redis answered, and what was asked for is not there."""

    status = 404
    title = "Not found"
    default_code = "not_found"

    def __init__(
        self,
        detail: str,
        *,
        age_seconds: float | None = None,
        has_backup: bool = False,
        code: str | None = None,
    ) -> None:
        """Keep how old that knowledge is, if it is memory's, and whether a backup is there."""
        super().__init__(detail, code=code)
        self.age_seconds = age_seconds
        self.has_backup = has_backup


def session_not_found(*, has_backup: bool = False) -> NotFound:
    """Return the error of a session that Redis does not have."""
    words = "There is no such session; it may have expired."
    if has_backup:
        words += " There is a backup of its state: POST .../restore brings it back."
    return NotFound(words, has_backup=has_backup, code="session_not_found")


class MethodNotAllowed(ServiceError):
    """The path exists; `allow` are the methods that it knows."""

    status = 405
    title = "Method not allowed"
    default_code = "method_not_allowed"

    def __init__(self, detail: str, *, allow: tuple[str, ...]) -> None:
        """Keep the methods for the Allow header (RFC 9110, 10.2.1)."""
        super().__init__(detail)
        self.allow = allow


class RequestTimeout(ServiceError):
    """The body made no progress for too long."""

    status = 408
    title = "Request timed out"
    default_code = "request_timeout"


class Conflict(ServiceError):
    """The call contradicts what the session already is."""

    status = 409
    title = "Conflict"
    default_code = "conflict"


class PreconditionFailed(ServiceError):
    """A condition did not hold; `etag` is what is there now, None if nothing is."""

    status = 412
    title = "Precondition failed"
    default_code = "precondition_failed"

    def __init__(self, detail: str, *, etag: str | None) -> None:
        """Keep the current ETag, so that the client can decide without another read."""
        super().__init__(detail)
        self.etag = etag


class TooLarge(ServiceError):
    """More than a limit allows; `limit` is that limit in its own unit."""

    status = 413
    title = "Too large or too many"
    default_code = "too_large"

    def __init__(self, detail: str, *faults: Fault, limit: int, code: str | None = None) -> None:
        """Keep the limit and the places that pass it."""
        super().__init__(detail, code=code)
        self.faults = faults
        self.limit = limit


class UnsupportedMediaType(ServiceError):
    """A route that reads JSON was sent another content type."""

    status = 415
    title = "Unsupported media type"
    default_code = "unsupported_media_type"


class Unprocessable(ServiceError):
    """The request is well-formed, but it cannot be done to what is there; `faults` point."""

    status = 422
    title = "Cannot be processed"
    default_code = "unprocessable"

    def __init__(self, detail: str, *faults: Fault, code: str | None = None) -> None:
        """Name the places that cannot be processed."""
        super().__init__(detail, code=code)
        self.faults = faults


def key_reused() -> Unprocessable:
    """Return the error of a call whose Idempotency-Key is that of another one."""
    words = "This Idempotency-Key was used for another request: take a new one."
    return Unprocessable(words, code="idempotency_key_reused")


class Locked(ServiceError):
    """A lease stands in the way; `retry_after_seconds` is the rest of it, where it is known."""

    status = 423
    title = "Locked"
    default_code = "leased"

    def __init__(
        self, detail: str, *, retry_after_seconds: int | None = None, code: str | None = None
    ) -> None:
        """Keep when to come back, in seconds."""
        super().__init__(detail, code=code)
        self.retry_after_seconds = retry_after_seconds


def wrong_lease() -> Locked:
    """Return the error of a call whose token does not hold the lease of its session."""
    words = "The Lease-Token is not that of the session's current lease: get a new one."
    return Locked(words, code="wrong_lease")


class HeadersTooLarge(ServiceError):
    """Too many header lines, or too many bytes of them."""

    status = 431
    title = "Request header fields too large"
    default_code = "headers_too_large"

    def __init__(self, detail: str, *, limit: int) -> None:
        """Keep the limit that was passed."""
        super().__init__(detail)
        self.limit = limit


class Internal(ServiceError):
    """A defect of ours: logged with its traceback, told without it."""

    status = 500
    title = "Internal error"
    default_code = "internal"


class Unavailable(ServiceError):
    """It cannot be done now; `outcome` says whether a write may have happened all the same."""

    status = 503
    title = "Temporarily unavailable"
    default_code = "unavailable"

    def __init__(
        self,
        detail: str,
        *,
        outcome: Outcome = Outcome.NOT_APPLIED,
        retry_after_seconds: int = 1,
        code: str | None = None,
    ) -> None:
        """Keep when to come back, in seconds."""
        super().__init__(detail, code=code)
        self.outcome = outcome
        self.retry_after_seconds = retry_after_seconds


OVERLOADED = "overloaded"
"""The code of a call that found no memory: it says nothing of the calls behind it."""


class StoreFull(ServiceError):
    """Redis refuses to grow; nothing was applied."""

    status = 507
    title = "Redis is full"
    default_code = "redis_full"
