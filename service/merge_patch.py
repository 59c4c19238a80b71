"""JSON Merge Patch (RFC 7396) on JSON text: what a patch does not touch keeps its exact bytes.

An object is split where it is merged and nowhere else: msgspec finds the bytes of each member and
keeps the last of equal names, which is noticed here. Texts are valid JSON, and no deeper than what
recursion bears.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import orjson

from service.errors import BadInput, Fault, Unprocessable, escaped

NULL, OPENING = b"null", ord("{")

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_OBJECT = re.compile(rb"[ \t\n\r]*\{")
# Possessive: a name of a million escapes would else leave a hundred bytes of way back for each.
_NAME = re.compile(rb'[ \t\n\r]*[{,][ \t\n\r]*("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\n\r]*:[ \t\n\r]*')
_END = re.compile(rb"[ \t\n\r]*\}[ \t\n\r]*")

Path = tuple[str, ...]
Text = bytes | msgspec.Raw


def merge_patch(target: bytes | None, patch: bytes) -> bytes:
    """Return `target` (None = absent) with the object `patch` merged into it.

    Raises BadInput where the patch, Unprocessable where the target names a member twice in an
    object that is merged: pointers are those of the patch.
    """
    return _merged(target, patch, ())


@dataclass(frozen=True, slots=True)
class _Object:
    """Members in their order; `spellings` has the names that are written with escapes.

    Values are views of the text that they stand in: copies at each level would be many.
    """

    values: dict[str, Text]
    spellings: dict[str, bytes]


def _merged(target: Text | None, patch: Text, path: Path) -> bytes:
    changes = _split(patch)
    if changes is None:
        raise BadInput("A patch names a member twice.", _repeated(path))
    if target is None or not _OBJECT.match(memoryview(target)):
        target = b"{}"
    if not changes.values:
        return bytes(target)
    members = _split(target)
    if members is None:
        raise Unprocessable(
            "The value names a member twice: merging would lose one. Set it whole.",
            _repeated(path),
            code="not_mergeable",
        )
    new = {name: text for name, text in changes.spellings.items() if name not in members.values}
    for name, change in changes.values.items():
        if memoryview(change) == NULL:
            members.values.pop(name, None)
        elif memoryview(change)[0] == OPENING:
            members.values[name] = _merged(members.values.get(name), change, (*path, name))
        else:
            members.values[name] = change
    return _written(members.values, new | members.spellings)


def _repeated(path: Path) -> Fault:
    return Fault("".join(f"/{escaped(name)}" for name in path), "names must be unique")


def _written(values: Mapping[str, Text], spellings: Mapping[str, bytes]) -> bytes:
    members = [
        b"%b:%b" % (spellings.get(name) or orjson.dumps(name), value)
        for name, value in values.items()
    ]
    return b"{%b}" % b",".join(members)


def _split(text: Text) -> _Object | None:
    """Return the members of an object, None if it names one twice.

    Names without escapes are what orjson writes, and each member has one colon of its own: all
    others are in names or values, so one that was dropped leaves its colon behind.
    """
    raws = _members.decode(text)
    values: dict[str, Text] = dict(raws)
    data, inner = bytes(text), b"".join(map(memoryview, raws.values()))
    if data.count(b"\\") != inner.count(b"\\"):
        spellings = _spellings(data, values)
        return None if spellings is None else _Object(values, spellings)
    colons = len(values) + "".join(values).count(":") + inner.count(b":")
    return _Object(values, {}) if data.count(b":") == colons else None


def _spellings(text: bytes, values: Mapping[str, Text]) -> dict[str, bytes] | None:
    """Return each name as it is written, None if the text is not these members one by one.

    A walk that finds each name and its value, and ends at the end, has seen all that is there.
    """
    spellings, position = {}, 0
    for name, view in values.items():
        found, value = _NAME.match(text, position), bytes(view)
        if not found or _text.decode(found[1]) != name or not text.startswith(value, found.end()):
            return None
        spellings[name] = found[1]
        position = found.end() + len(value)
    return spellings if _END.fullmatch(text, position) else None
