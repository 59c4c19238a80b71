"""What the reference knows of JSON: the identity of a message, and merging."""

import json

import msgspec

from tests.agreement import Tree
from tests.reference_nouns import Refusal

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def identity_of(text: bytes, member: str) -> tuple[bytes, str | None]:
    raw = bytes(_members.decode(text).get(member, b"null")) if member else b"null"
    value = json.loads(raw)
    is_identity = isinstance(value, str | int) and not isinstance(value, bool)
    return raw, str(value) if is_identity else None


def merge(target: Tree, patch: object) -> Tree:
    """RFC 7396, 2, on texts: what the patch does not touch stays as it is."""
    if not isinstance(patch, dict):
        return json.dumps(patch).encode()
    if isinstance(target, bytes) and not target.strip().startswith(b"{"):
        target = b"{}"
    if not patch:
        return target
    result = dict(target) if isinstance(target, dict) else _split(target)
    for name, change in patch.items():
        if change is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name, b"null"), change)
    return result


def _split(text: bytes) -> dict[str, Tree]:
    names = [name for name, _ in json.loads(text, object_pairs_hook=lambda pairs: pairs)]
    if len(set(names)) < len(names):
        raise Refusal(422, "not_mergeable")
    return {name: bytes(raw) for name, raw in _members.decode(text).items()}
