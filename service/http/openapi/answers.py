"""What the service answers: the shapes of its JSON documents."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, field

from service.errors import Outcome
from service.http.schemas import MESSAGE, VALUE, Maybe
from service.model import Touch

Document = dict[str, Any]

REF = "#/components/schemas/"

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
SessionTag = Annotated[str, Meta(pattern='^"[A-Za-z0-9_-]+-[0-9]+"$', description="An ETag.")]
Count = Annotated[int, Meta(ge=0)]
Seq = Annotated[int, Meta(ge=1)]
Values = dict[str, Annotated[Raw, VALUE]]


class Session(Struct):
    """One conversation, login or chat, without its contents."""

    id: str
    etag: SessionTag
    created_at: Time
    updated_at: Time
    expires_at: Annotated[Time | None, Meta(description="null = never.")]
    ttl: float | None
    touch: Touch
    max_age: float | None
    max_messages: Seq
    message_count: Count
    state_key_count: Count


class SessionPage(Struct):
    """Sessions in no order; `next` goes to cursor=, null at the end."""

    sessions: list[Session]
    next: str | None


class Message(Struct):
    """A message with its place in the log and its time."""

    seq: Seq
    at: Time
    message: Annotated[Raw, MESSAGE]


class MessagePage(Struct):
    """A window of the log, oldest first; first_seq, last_seq and total are the session's."""

    messages: list[Message]
    first_seq: Seq | None
    last_seq: Seq | None
    total: Count
    next: Annotated[Seq | None, Meta(description="Goes to after=, null at the end.")]
    prev: Annotated[Seq | None, Meta(description="Goes to before=, null at the beginning.")]


class SessionView(Session):
    """A session with what `include` names: state, or messages and the members of their page."""

    state: Maybe[Values] = UNSET
    messages: Maybe[list[Message]] = UNSET
    first_seq: Maybe[Seq | None] = UNSET
    last_seq: Maybe[Seq | None] = UNSET
    total: Maybe[Count] = UNSET
    next: Maybe[Seq | None] = UNSET
    prev: Maybe[Seq | None] = UNSET


class Appended(Struct):
    """The seqs that were assigned; null if all were duplicates."""

    first_seq: Seq | None
    last_seq: Seq | None
    count: Count
    duplicates: Annotated[list[str | int], Meta(description="The dedupe members of those skipped.")]
    etag: SessionTag


class AppendAccepted(Struct):
    """What is known of an append that waits; null = not before duplicates were looked for."""

    count: Count | None
    duplicates: list[str | int] | None


class Replaced(Struct):
    """The seqs of what is there now; null if that is nothing."""

    first_seq: Seq | None
    last_seq: Seq | None
    count: Count
    etag: SessionTag


class Popped(Struct):
    """Messages that were taken off the end, newest last."""

    messages: list[Message]


class Deleted(Struct):
    """How many were deleted."""

    deleted: Count


class BatchAnswer(Struct):
    """The values that were to be got, null where there is none."""

    values: dict[str, Annotated[Raw | None, VALUE]]
    deleted: Count
    etag: SessionTag | None


class BatchAccepted(Struct):
    """What is known of a batch that waits; null = not before Redis has applied it."""

    values: dict[str, Raw]
    deleted: Count | None


class KeyPage(Struct):
    """State keys in the order of their bytes; `next` goes to after=, null at the end."""

    keys: list[str]
    next: str | None


class ValuePage(Struct):
    """State values in the order of their keys; `next` goes to after=, null at the end."""

    values: Values
    next: str | None


class Backup(Struct):
    """A copy of a session's state: as of when, its size as it is stored, how many keys it has."""

    at: Time
    bytes: Count
    keys: Count


class Lease(Struct):
    """A lease; send its token as Lease-Token."""

    token: str
    expires_at: Time


class LeverRun(Struct):
    """The use before and after one lever, what it freed by its own account, what went back."""

    name: str
    available: bool
    resting: bool
    before_bytes: Count = field(name="beforeBytes")
    after_bytes: Count = field(name="afterBytes")
    freed_bytes: Annotated[Count, Meta(description="Of a dry run: what it would free.")] = field(
        name="freedBytes"
    )
    returned_bytes: Count = field(name="returnedBytes")
    ms: float


class Relieved(Struct):
    """What a run of a tier brought: the use before and after it, and what each lever did."""

    tier: str
    dry_run: bool = field(name="dryRun")
    before_bytes: Count = field(name="beforeBytes")
    after_bytes: Count = field(name="afterBytes")
    freed_bytes: Count = field(name="freedBytes")
    ms: float
    levers: list[LeverRun]


class AllocatingLine(Struct):
    """A line of code, and what it has allocated that is still there."""

    file: str
    line: Count
    bytes: Count
    count: Count


class Allocations(Struct):
    """What was allocated while it was traced and is still there; the largest lines first."""

    seconds: float
    bytes: Count
    count: Count
    places: list[AllocatingLine]


class Status(Struct):
    """One word."""

    status: str


class Health(Struct):
    """How it goes; many more members than these, see docs/health.md."""

    status: str
    timestamp: Time
    uptime: float
    memory: dict[str, Any]
    memory_optimization_enabled: bool = field(name="memoryOptimizationEnabled")
    database_connected: bool = field(name="databaseConnected")


class AnyObject(Struct):
    """A JSON object."""


class Fault(Struct):
    """One place that is wrong: a JSON pointer, or /query/NAME, /path/NAME, /headers/NAME."""

    pointer: str
    reason: str


class Problem(Struct):
    """What went wrong, and what to do about it (RFC 9457)."""

    type: str
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    code: Annotated[str, Meta(description="Stable: a program may compare it.")]
    request_id: str
    errors: Maybe[list[Fault]] = UNSET
    limit: Maybe[Count] = UNSET
    etag: Maybe[SessionTag | None] = UNSET
    outcome: Maybe[Outcome] = UNSET
    backup: Maybe[
        Annotated[bool, Meta(description="The session is gone, but a backup of its state is not.")]
    ] = UNSET
