"""API_KEY and API_KEYS to credentials; a fault tells the entry's number and the rule, no text."""

import re
from collections.abc import Iterable, Iterator

from service.access import DEFAULT_NAMESPACE, Credential, Principal, Scope
from service.model import Namespace
from service.variables import Variables

KEY_RULE = "must be 5 to 256 characters of A-Z, a-z, 0-9, _ and -"

_KEY = re.compile(r"[A-Za-z0-9_-]{5,256}")
_NAMESPACE = re.compile(r"[a-z0-9_-]{1,32}")
_SCOPES = {scope.name.lower(): scope for scope in Scope}
_PARTS = 3


def read_api_key(variables: Variables, text: str) -> str | None:
    """Read the one key of the namespace `default`; empty = not set."""
    if text and not _KEY.fullmatch(text):
        variables.refuse("API_KEY", KEY_RULE)
    return text or None


def read_api_keys(variables: Variables, text: str, api_key: str | None) -> tuple[Credential, ...]:
    """Read `namespace:scope:key,...`; no key may stand there twice, nor be `api_key` too."""
    entries = [entry.strip() for entry in text.split(",")]
    if not entries[-1]:  # nothing at all, or a comma at the end
        entries.pop()
    faults = [f"entry {number}: {rule}" for number, rule in _faults(entries, api_key)]
    if faults:
        variables.refuse("API_KEYS", "; ".join(faults))
        return ()
    return tuple(_credential(*entry.split(":")) for entry in entries)


def owner(api_key: str) -> Credential:
    """Return what API_KEY is: one rw key of the namespace `default`."""
    return Credential(api_key, Principal(DEFAULT_NAMESPACE, Scope.RW))


def _faults(entries: Iterable[str], api_key: str | None) -> Iterator[tuple[int, str]]:
    seen: dict[str, str] = {api_key: "API_KEY"} if api_key else {}
    for number, entry in enumerate(entries, start=1):
        parts = entry.split(":")
        if len(parts) != _PARTS:
            yield number, "must be namespace:scope:key"
            continue
        yield from ((number, rule) for rule in _broken_rules(*parts))
        if parts[-1] in seen:
            yield number, f"has the key of {seen[parts[-1]]}: each key may stand once"
        seen.setdefault(parts[-1], f"entry {number}")


def _broken_rules(namespace: str, scope: str, key: str) -> Iterator[str]:
    if not _NAMESPACE.fullmatch(namespace):
        yield "the namespace must be 1 to 32 characters of a-z, 0-9, _ and -"
    if scope not in _SCOPES:
        yield f"the scope must be one of {', '.join(_SCOPES)}"
    if not _KEY.fullmatch(key):
        yield f"the key {KEY_RULE}"


def _credential(namespace: str, scope: str, key: str) -> Credential:
    return Credential(key, Principal(Namespace(namespace), _SCOPES[scope]))
