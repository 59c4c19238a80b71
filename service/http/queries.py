"""Query parameters that say which part of a list is meant."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import UNSET, Meta, Struct

from service.codec import digest
from service.errors import BadInput, Fault
from service.http.names import MOST_ID_BYTES, MOST_SEQ
from service.http.scalars import milliseconds, parameter
from service.http.schemas import KEY_TTL, Maybe, member_names
from service.model import Window
from service.writes import Cut, Removal

DEFAULT_LIMIT = 50
DEFAULT_PAGE_LIMIT = 100
MOST_LIMIT = 1_000

LAST = Meta(ge=0, le=MOST_SEQ, description="The newest so many, 1,000 at most.")
AFTER = Meta(ge=0, le=MOST_SEQ, description="Only messages behind this seq.")
BEFORE = Meta(ge=0, le=MOST_SEQ, description="Only messages before this seq.")
SINCE = Meta(
    description="Only messages from this time on: RFC 3339 with a zone, or ms since 1970.",
)
IDENTITY = Meta(
    description="The one message whose dedupe member is this text, among those remembered.",
)
LIMIT = Meta(ge=1, le=MOST_SEQ, description="So many, 1,000 at most; default 50.")
MAX_BYTES = Meta(
    ge=0,
    le=MOST_SEQ,
    description="Of those the newest whose JSON texts together have at most so many bytes.",
)
INCLUDE = Meta(
    description="state, messages, or both with a comma; a window goes with messages.",
    extra_json_schema={"pattern": "^(state|messages|state,messages|messages,state)$"},
)
PAGE_LIMIT = Meta(ge=1, le=1_000, description="So many; default 100.")
CURSOR = Meta(description="The next of the page before.")
ID_PREFIX = Meta(max_length=MOST_ID_BYTES, description="Only ids that begin so.")
KEY_PREFIX = Meta(description="Only keys that begin so.")
AFTER_KEY = Meta(description="Only keys behind this one.")
WITH_VALUES = Meta(description="Whether to answer the values too.")
TRIMMED = Meta(ge=0, le=MOST_SEQ, description="Messages before this seq.")
POPPED = Meta(
    ge=0, le=MOST_SEQ, description="The newest so many, 1,000 at most: they are answered."
)
REPLACES = Meta(description="Whether also in the place of the state of a session that is there.")


class WindowQuery(Struct):
    """Which messages to read; without parameters the newest 50."""

    last: Maybe[Annotated[int, LAST]] = UNSET
    after: Maybe[Annotated[int, AFTER]] = UNSET
    before: Maybe[Annotated[int, BEFORE]] = UNSET
    since: Maybe[Annotated[str, SINCE]] = UNSET
    id: Maybe[Annotated[str, IDENTITY]] = UNSET
    limit: Maybe[Annotated[int, LIMIT]] = UNSET
    max_bytes: Maybe[Annotated[int, MAX_BYTES]] = UNSET


class SessionQuery(WindowQuery):
    """What to answer of a session."""

    include: Maybe[Annotated[str, INCLUDE]] = UNSET


class ListingQuery(Struct):
    """Which sessions to list."""

    prefix: Maybe[Annotated[str, ID_PREFIX]] = UNSET
    limit: Maybe[Annotated[int, PAGE_LIMIT]] = UNSET
    cursor: Maybe[Annotated[str, CURSOR]] = UNSET


class StateQuery(Struct):
    """Which state keys to list."""

    prefix: Maybe[Annotated[str, KEY_PREFIX]] = UNSET
    after: Maybe[Annotated[str, AFTER_KEY]] = UNSET
    limit: Maybe[Annotated[int, PAGE_LIMIT]] = UNSET
    values: Maybe[Annotated[bool, WITH_VALUES]] = UNSET


class PrefixQuery(Struct):
    """Which state keys to delete."""

    prefix: Maybe[Annotated[str, KEY_PREFIX]] = UNSET


class RemovalQuery(Struct):
    """Which messages to remove; without parameters all."""

    last: Maybe[Annotated[int, POPPED]] = UNSET
    before: Maybe[Annotated[int, TRIMMED]] = UNSET


class KeyTtlQuery(Struct):
    """When the value that is set expires."""

    key_ttl: Maybe[Annotated[float, KEY_TTL]] = UNSET


class RestoreQuery(Struct):
    """What a backup may take the place of."""

    replace: Maybe[Annotated[bool, REPLACES]] = UNSET


SESSION_PARAMETERS = member_names(SessionQuery)
LISTING_PARAMETERS = member_names(ListingQuery)
STATE_PARAMETERS = member_names(StateQuery)
PREFIX_PARAMETERS = member_names(PrefixQuery)
WINDOW_PARAMETERS = member_names(WindowQuery)
REMOVAL_PARAMETERS = member_names(RemovalQuery)
KEY_TTL_PARAMETERS = member_names(KeyTtlQuery)
RESTORE_PARAMETERS = member_names(RestoreQuery)

_WAYS = ({"last"}, {"since"}, {"id"}, {"after", "before"})
_DIGITS = re.compile("[0-9]{1,15}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_window(query: Mapping[str, str]) -> Window:
    """Parse which messages to read; without parameters the newest 50."""
    _check_ways(query)
    newest = "after" not in query and "since" not in query
    return Window(
        limit=_limit(query),
        newest=newest,
        after=_optional(query, "after", AFTER),
        before=_optional(query, "before", BEFORE),
        since_ms=_parse_since(query["since"]) if "since" in query else None,
        digest=digest(query.get("id")),
        max_bytes=_optional(query, "max_bytes", MAX_BYTES),
    )


def parse_removal(query: Mapping[str, str]) -> Removal:
    """Parse which messages to remove; without parameters all."""
    match sorted(query):
        case ["before"]:
            return Removal(cut=Cut.BEFORE, number=parameter(query, "before", TRIMMED))
        case ["last"]:
            number = min(MOST_LIMIT, parameter(query, "last", POPPED))
            return Removal(cut=Cut.LAST, number=number)
        case []:
            return Removal(cut=Cut.ALL)
        case both:
            raise BadInput("last and before exclude each other.", *_one_of(both))


def parse_key_ttl(query: Mapping[str, str]) -> int | None:
    """Parse after how many milliseconds the value of this call expires; None = never."""
    text = query.get("key_ttl")
    return None if text is None else milliseconds(text.encode(), "/query/key_ttl", KEY_TTL)


def parse_page_limit(query: Mapping[str, str]) -> int:
    """Parse how many items a page may have."""
    return parameter(query, "limit", PAGE_LIMIT) if "limit" in query else DEFAULT_PAGE_LIMIT


def _check_ways(query: Mapping[str, str]) -> None:
    if len(query) < 2:  # noqa: PLR2004 # two are needed to exclude each other
        return
    ways = [way & query.keys() for way in _WAYS if way & query.keys()]
    if len(ways) > 1:
        words = "last, since, id, and after or before exclude each other."
        raise BadInput(words, *_one_of(sorted(set().union(*ways))))
    alone = {"last", "id"} & query.keys()
    if alone and "limit" in query:
        words = "limit goes with after, before or since, or alone."
        raise BadInput(words, *_one_of(sorted({*alone, "limit"})))


def _one_of(names: list[str]) -> list[Fault]:
    return [Fault(f"/query/{name}", "give one of them") for name in names]


def _limit(query: Mapping[str, str]) -> int:
    if "id" in query:
        return 1
    if "last" in query:
        return min(MOST_LIMIT, parameter(query, "last", LAST))
    if "limit" in query:
        return min(MOST_LIMIT, parameter(query, "limit", LIMIT))
    return DEFAULT_LIMIT


def _optional(query: Mapping[str, str], name: str, declared: Meta) -> int | None:
    return parameter(query, name, declared) if name in query else None


def _parse_since(text: str) -> int:
    """Return milliseconds since 1970, rounded up: no message before the moment is let in."""
    if _DIGITS.fullmatch(text) and int(text) <= MOST_SEQ:
        return int(text)
    try:
        # A plus that was not escaped has come as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+")) - _EPOCH
    except (ValueError, TypeError, OverflowError):
        reason = "must be RFC 3339 with a zone, or milliseconds since 1970"
        raise BadInput("since is not a timestamp.", Fault("/query/since", reason)) from None
    return max(0, -(-moment // timedelta(milliseconds=1)))
