"""Query parameters that say which part of a list to answer."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from service.errors import BadInput, Fault
from service.model import Window

WINDOW_PARAMETERS = ("last", "after", "before", "since", "limit")
DEFAULT_LIMIT = 50
MOST_LIMIT = 1_000
MOST_SEQ = 2**48 - 1

_DIGITS = re.compile("[0-9]{1,15}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_window(query: Mapping[str, str]) -> Window:
    """Parse which messages to read; without parameters the newest 50."""
    ways = [
        {"last"} & query.keys(),
        {"since"} & query.keys(),
        {"after", "before"} & query.keys(),
    ]
    if sum(map(bool, ways)) > 1 or ("last" in query and "limit" in query):
        faults = (Fault(f"/query/{name}", "give one of them") for name in sorted(query))
        words = "last, since, and after or before exclude each other; limit does not go with last."
        raise BadInput(words, *faults)
    if "last" in query:
        return Window(limit=min(MOST_LIMIT, whole(query, "last", 0)))
    return Window(
        limit=min(MOST_LIMIT, whole(query, "limit", 1)) if "limit" in query else DEFAULT_LIMIT,
        newest="after" not in query and "since" not in query,
        after=whole(query, "after", 0) if "after" in query else None,
        before=whole(query, "before", 0) if "before" in query else None,
        since_ms=_parse_since(query["since"]) if "since" in query else None,
    )


def whole(query: Mapping[str, str], name: str, low: int, high: int = MOST_SEQ) -> int:
    """Parse a parameter that is a whole number from `low` to `high`."""
    text = query[name]
    if not (_DIGITS.fullmatch(text) and low <= int(text) <= high):
        reason = f"must be a whole number from {low} to {high}"
        raise BadInput("A query parameter is out of range.", Fault(f"/query/{name}", reason))
    return int(text)


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
