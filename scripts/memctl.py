"""The memory of a running service, for the person who runs it: over HTTP, with nothing but Python.

    scripts/memctl status                  what /health tells of memory
    scripts/memctl standard [--dry-run]    run the standard tier now, or only say what it would free
    scripts/memctl emergency [--dry-run]   the same with the emergency tier
    scripts/memctl leak [--seconds 10]     trace allocations: which lines hold what is still there

All but status need a key of scope admin: --key, BALLAST_KEY or API_KEY.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

CALL_SECONDS = 30.0
MIB = 1_048_576
TIERS = ("standard", "emergency")

Document = dict[str, Any]

WHAT_TO_DO = {
    HTTPStatus.UNAUTHORIZED: "No key, or one that is not known: give one by --key or BALLAST_KEY.",
    HTTPStatus.FORBIDDEN: "This key may not do that: give one of API_KEYS with the scope admin.",
}


class MemctlError(Exception):
    """It did not work; the message says why, and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as told; exit code 1 if it did not work."""
    given = _parser().parse_args(arguments)
    try:
        for line in _lines(given):
            print(line)
    except MemctlError as error:
        print(f"scripts/memctl: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    port = os.environ.get("PORT") or "8000"
    parser = argparse.ArgumentParser(
        prog="scripts/memctl", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("status", *TIERS, "leak"))
    parser.add_argument("--dry-run", action="store_true", help="with a tier: change nothing")
    parser.add_argument("--seconds", type=float, default=10, help="with leak: 1 to 60 (10)")
    parser.add_argument("--top", type=int, default=20, help="with leak: how many lines (20)")
    parser.add_argument("--url", default=f"http://127.0.0.1:{port}", help="where the service is")
    parser.add_argument("--key", default=_key(), help="of scope admin")
    return parser


def _key() -> str | None:
    return os.environ.get("BALLAST_KEY") or os.environ.get("API_KEY") or None


def _lines(given: argparse.Namespace) -> Iterator[str]:
    if given.what == "status":
        return _status(_call(given, "/health"))
    if given.what == "leak":
        body = {"seconds": given.seconds, "top": given.top}
        return _leak(_call(given, "/v1/admin/leak", body, wait_seconds=given.seconds))
    body = {"tier": given.what, "dry_run": given.dry_run}
    return _relieved(_call(given, "/v1/admin/relieve", body))


def _call(
    given: argparse.Namespace, path: str, body: Document | None = None, wait_seconds: float = 0.0
) -> Document:
    """Call the service. Raises MemctlError."""
    url = given.url.rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise MemctlError(f"{url} is no http:// or https:// address: see --url.")
    headers = {"Content-Type": "application/json"}
    if given.key:
        headers["Authorization"] = f"Bearer {given.key}"
    data = None if body is None else json.dumps(body).encode()
    request = Request(url + path, data, headers)  # noqa: S310 # its scheme is checked
    try:
        with urlopen(request, timeout=CALL_SECONDS + wait_seconds) as response:  # noqa: S310
            return _document(response.read())
    except HTTPError as error:
        return _refusal(path, error)
    except (URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        words = f"nobody answers at {url} ({reason}): is the service running there? See --url."
        raise MemctlError(words) from error


def _refusal(path: str, error: HTTPError) -> Document:
    """Return a document of /health that is a 503; raise for every other error."""
    document = _document(error.read())
    if path == "/health" and "memory" in document:
        return document
    told = WHAT_TO_DO.get(HTTPStatus(error.code), document.get("detail", ""))
    raise MemctlError(f"{error.code} {error.reason}: {told}") from None


def _document(data: bytes) -> Document:
    try:
        document: Document = json.loads(data)
    except ValueError:
        raise MemctlError("the answer is not of this service: see --url.") from None
    return document


def _status(health: Document) -> Iterator[str]:
    memory, hot = health["memory"], health.get("hotTier")
    yield f"status     {health['status']}"
    if hot is None:
        yield "           (ENABLE_HEALTH_CHECK=false: nothing more is told)"
        return
    used, quota, peak = (_mib(memory[name]) for name in ("used", "quota", "peak"))
    yield f"used       {used} of {quota} ({memory['quotaUsage']} %), at most {peak}"
    yield f"tier       {memory['tier']}, looked after by {memory['manager']}"
    yield f"source     {memory['source']}"
    yield f"hot tier   {_mib(hot['bytes'])} of {_mib(hot['budget'])}, {hot['sessions']} sessions"
    yield f"leak       {_suspicion(memory)}"
    action = memory["lastAction"]
    if action:
        freed = f"freed {_mib(action['freedBytes'])} in {action['ms']} ms"
        yield f"last run   {action['tier']} at {action['at']}: {freed}"
    yield from (f"degraded   {word}" for word in memory["degraded"])
    yield from (f"warning    {sentence}" for sentence in health["warnings"])


def _suspicion(memory: Document) -> str:
    leak = memory["leak"]
    slope, windows = leak["slopeBytesPerHour"], leak["windows"]
    if slope is None:
        return f"not known yet, after {windows} windows of {leak['windowSeconds']} s"
    word = "SUSPECTED" if memory["leakSuspected"] else "not suspected"
    seen = f"over {windows} windows of {leak['windowSeconds']} s"
    return f"{word}: {slope / MIB:+.1f} MiB an hour that nothing explains, {seen}"


def _relieved(relieved: Document) -> Iterator[str]:
    is_dry = relieved["dryRun"]
    yield f"{relieved['tier']} tier{', dry run: what it would free' if is_dry else ''}"
    rows: list[tuple[str, ...]] = [("lever", "before", "after", "freed", "returned", "ms")]
    for lever in relieved["levers"]:
        columns = ("beforeBytes", "afterBytes", "freedBytes", "returnedBytes")
        figures = [_mib(lever[name]) for name in columns]
        name = lever["name"] if lever["available"] else f"{lever['name']} (not here)"
        rows.append((name, *figures, f"{lever['ms']:.1f}"))
    yield from _table(rows)
    before, after = _mib(relieved["beforeBytes"]), _mib(relieved["afterBytes"])
    freed, ms = _mib(relieved["freedBytes"]), relieved["ms"]
    yield f"used {before} before, {after} after; freed {freed} in {ms:.1f} ms"


def _leak(allocations: Document) -> Iterator[str]:
    total, count = _mib(allocations["bytes"]), allocations["count"]
    yield f"{total} in {count} allocations of {allocations['seconds']:g} s are still there"
    rows: list[tuple[str, ...]] = [("bytes", "count", "line of code")]
    for place in allocations["places"]:
        at = f"{place['file']}:{place['line']}"
        rows.append((str(place["bytes"]), str(place["count"]), at))
    yield from _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(cell.ljust(width) for cell, width in cells).rstrip()


def _mib(count: int) -> str:
    return f"{count / MIB:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
