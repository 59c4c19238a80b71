"""What requests may hold: each body a Struct, each range said once.

The parsers take names and ranges from here, the OpenAPI document takes its schemas. The Structs
are never filled: what is opaque has to keep its exact text, and seconds their exact decimals.
"""

from enum import StrEnum
from functools import cache
from typing import Annotated, TypeAlias, TypeVar

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field
from msgspec.structs import fields

from service.codec import MOST_MEDIA_TYPE_BYTES
from service.http.names import MOST_ID_BYTES, MOST_KEY_BYTES
from service.model import Touch

MOST_SECONDS = 315_360_000
MOST_MESSAGES = 1_000_000
MOST_REPLACED = 5_000
LEASE_SECONDS = 30
TRACE_SECONDS = 10
TRACED_PLACES = 20

T = TypeVar("T")
Maybe: TypeAlias = T | UnsetType

TTL = Meta(
    ge=0.001,
    le=MOST_SECONDS,
    description="Seconds from a renewal to the expiry, in steps of 0.001.",
)
MAX_AGE = Meta(
    ge=0.001,
    le=MOST_SECONDS,
    description="Seconds from the creation to the end, in steps of 0.001.",
)
TOUCH = Meta(description="What renews the expiry.")
MESSAGES_KEPT = Meta(
    ge=1,
    le=MOST_MESSAGES,
    description="How many messages the session keeps: the oldest are dropped by the append.",
)
KEY_TTL = Meta(
    ge=0.001,
    le=MOST_SECONDS,
    description="Seconds until the values that are set here expire, in steps of 0.001.",
)
LEASE_TTL = Meta(
    ge=0.1,
    le=3_600,
    description="Seconds until the lease expires, in steps of 0.001.",
)
LEASE_WAIT = Meta(
    ge=0,
    le=20,
    description="Seconds to wait for a lease that somebody else holds, in steps of 0.001.",
)
RELIEF_TIER = Meta(description="Which tier is run.")
DRY_RUN = Meta(description="Whether only to say what it would free.")
TRACE_TIME = Meta(
    ge=1,
    le=60,
    description="Seconds to trace, in steps of 0.001.",
)
TRACE_TOP = Meta(
    ge=1,
    le=100,
    description="How many lines of code to tell.",
)
DEDUPE = Meta(
    min_length=1,
    max_length=MOST_KEY_BYTES,
    description="The top-level member (text or integer) that identifies a message.",
)
ID = Meta(
    min_length=1,
    max_length=MOST_ID_BYTES,
    description="1 to 256 bytes of UTF-8 without control characters, not . or ..",
)
STATE_KEY = Meta(
    min_length=1,
    max_length=MOST_KEY_BYTES,
    description="1 to 512 bytes of UTF-8 without control characters.",
)
MESSAGE = Meta(
    description="Any JSON object of up to MAX_MESSAGE_BYTES, kept byte by byte.",
    extra_json_schema={"type": "object"},
)
VALUE = Meta(
    description="Any JSON of up to MAX_VALUE_BYTES, kept byte by byte. An object with the member "
    '$raw is raw bytes: {"$raw": base64, "type": content type}.',
)
SET_VALUE = Meta(description="A value, or null to delete the key.")
MEDIA_TYPE = Meta(
    description="A content type that is not JSON.",
    extra_json_schema={"minLength": 1, "maxLength": MOST_MEDIA_TYPE_BYTES},
)
PATCH = Meta(
    description="A merge patch (RFC 7396).",
    extra_json_schema={"type": "object"},
)

NEVER = Meta(description="null = never.")
NO_END = Meta(description="null = no end.")
APPENDED = Meta(min_length=1, description="As many as MAX_MESSAGES_PER_CALL (500).")

Seconds = Annotated[float, TTL]
SecondsOrNever = Annotated[Seconds | None, NEVER]
Key = Annotated[str, STATE_KEY]
Messages = list[Annotated[Raw, MESSAGE]]


class SessionSettings(Struct, forbid_unknown_fields=True):
    """Settings of a session; those that are not named stay, or are the defaults at creation."""

    ttl: Maybe[SecondsOrNever] = UNSET
    touch: Maybe[Annotated[Touch, TOUCH]] = UNSET
    max_age: Maybe[Annotated[Annotated[float, MAX_AGE] | None, NO_END]] = UNSET
    max_messages: Maybe[Annotated[int, MESSAGES_KEPT]] = UNSET


class SettingsPatch(Struct, forbid_unknown_fields=True):
    """A merge patch (RFC 7396) of the settings: null is the service's default."""

    ttl: Maybe[Seconds | None] = UNSET
    touch: Maybe[Annotated[Touch, TOUCH] | None] = UNSET
    max_age: Maybe[Annotated[float, MAX_AGE] | None] = UNSET
    max_messages: Maybe[Annotated[int, MESSAGES_KEPT] | None] = UNSET


class AppendBody(Struct, forbid_unknown_fields=True):
    """Messages to append, in this order."""

    messages: Annotated[Messages, APPENDED]
    dedupe: Maybe[Annotated[str, DEDUPE]] = UNSET
    ttl: Maybe[SecondsOrNever] = UNSET
    max_messages: Maybe[Annotated[int, MESSAGES_KEPT]] = UNSET


class ReplaceBody(Struct, forbid_unknown_fields=True):
    """Messages that take the place of all that are there."""

    messages: Annotated[Messages, Meta(max_length=MOST_REPLACED)]
    dedupe: Maybe[Annotated[str, DEDUPE]] = UNSET
    ttl: Maybe[SecondsOrNever] = UNSET
    max_messages: Maybe[Annotated[int, MESSAGES_KEPT]] = UNSET


class StateBatch(Struct, forbid_unknown_fields=True):
    """Keys to set or delete, then to merge, then to get, in one step."""

    get: Maybe[list[Key]] = UNSET
    set: Maybe[dict[Key, Annotated[Raw | None, SET_VALUE]]] = UNSET
    merge: Maybe[dict[Key, Annotated[Raw, PATCH]]] = UNSET
    key_ttl: Maybe[Annotated[float, KEY_TTL]] = UNSET
    ttl: Maybe[SecondsOrNever] = UNSET


class RawValue(Struct, forbid_unknown_fields=True):
    """Bytes of any content type, as JSON carries them."""

    data: Annotated[bytes, Meta(examples=["AAEC"])] = field(name="$raw")
    type: Annotated[str, MEDIA_TYPE]


class CopyBody(Struct, forbid_unknown_fields=True):
    """The id of the session that is made."""

    to: Annotated[str, ID]


class LeaseBody(Struct, forbid_unknown_fields=True):
    """How long a lease is wanted, and how long to wait for it."""

    ttl: Annotated[float, LEASE_TTL] = LEASE_SECONDS
    wait: Annotated[float, LEASE_WAIT] = 0


class LeaseExtension(Struct, forbid_unknown_fields=True):
    """How long a lease goes on from now."""

    ttl: Annotated[float, LEASE_TTL] = LEASE_SECONDS


class ReliefTier(StrEnum):
    """The tiers that can be asked for."""

    STANDARD = "standard"
    EMERGENCY = "emergency"


class ReliefBody(Struct, forbid_unknown_fields=True):
    """A tier to run now."""

    tier: Annotated[ReliefTier, RELIEF_TIER]
    dry_run: Annotated[bool, DRY_RUN] = False


class TraceBody(Struct, forbid_unknown_fields=True):
    """For how long to trace allocations, and how much to tell of them."""

    seconds: Annotated[float, TRACE_TIME] = TRACE_SECONDS
    top: Annotated[int, TRACE_TOP] = TRACED_PLACES


def member_names(body: type[Struct]) -> tuple[str, ...]:
    """Return the members that a body may have."""
    return body.__struct_encode_fields__


@cache
def required_members(body: type[Struct]) -> tuple[str, ...]:
    """Return the members that a body must have."""
    return tuple(each.encode_name for each in fields(body) if each.required)
