"""State values that are known, packed into pages of bytes: no object a value at rest.

A hash table whose buckets are pages: a key's CRC-32 names its page, a page is a run of records

    length of the key (2) | length of the value + 1 (4; 0 = known to be absent) | key | value

A lookup walks one page, a change makes one page anew, and pages double when they grow full.
"""

from collections.abc import Iterator, Mapping
from struct import Struct
from zlib import crc32

import msgspec

PAGE_BYTES = 4_096
MOST_BYTES = 1_048_576

_HEAD = Struct(">HI")
_WEIGHT_OF_ONE = 50
"""The object around a page, by the RSS of many."""

_WEIGHT_OF_ANY = 90
"""The objects of a map that has any page."""

Known = Mapping[bytes, bytes | None]
"""Keys and their values; None = known to be absent."""


class PackedMap(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What is known of a state; `is_complete`: a key that is not in it is absent. Immutable."""

    pages: tuple[bytes, ...] = (b"",)
    is_complete: bool = False

    @property
    def weight(self) -> int:
        """Bytes of memory; one of a single empty page costs none, as its objects are shared."""
        bytes_ = sum(map(len, self.pages))
        return bytes_ and _WEIGHT_OF_ANY + _WEIGHT_OF_ONE * len(self.pages) + bytes_

    def get(self, keys: tuple[bytes, ...]) -> Known | None:
        """Return the values of all keys, or None if that of any is not known."""
        found: dict[bytes, bytes | None] = {}
        for key in keys:
            page = self.pages[_bucket(key, len(self.pages))]
            known = next((value for name, value in _records(page) if name == key), b"")
            if known == b"" and not self.is_complete:
                return None
            found[key] = known or None
        return found

    def all(self) -> Known | None:
        """Return every value, or None if there may be more than is known."""
        if not self.is_complete:
            return None
        return {key: value for page in self.pages for key, value in _records(page) if value}

    def updated(self, changes: Known) -> "PackedMap":
        """Return this map with keys set, or known to be absent."""
        pages = list(self.pages)
        for bucket, part in _by_bucket(changes, len(pages)).items():
            pages[bucket] = self._pack({**dict(_records(pages[bucket])), **part})
        grown = PackedMap(tuple(pages), self.is_complete)
        if grown.weight <= 2 * PAGE_BYTES * len(pages):
            return grown
        return grown._spread()

    def without(self, prefix: bytes) -> "PackedMap":
        """Return this map after all keys that begin so were deleted."""
        known = (record for page in self.pages for record in _records(page))
        return self.updated({key: None for key, _ in known if key.startswith(prefix)})

    def _spread(self) -> "PackedMap":
        """Return the same content in so many pages that they are half full."""
        count = 1 << (self.weight // PAGE_BYTES).bit_length()
        everything = {key: value for page in self.pages for key, value in _records(page)}
        parts = _by_bucket(everything, count)
        pages = tuple(self._pack(parts.get(bucket, {})) for bucket in range(count))
        return PackedMap(pages, self.is_complete)

    def _pack(self, known: Known) -> bytes:
        parts: list[bytes] = []
        for key, value in known.items():
            if value is not None:
                parts += [_HEAD.pack(len(key), len(value) + 1), key, value]
            elif not self.is_complete:
                parts += [_HEAD.pack(len(key), 0), key]
        return b"".join(parts)


def _bucket(key: bytes, pages: int) -> int:
    return crc32(key) & (pages - 1)


def _by_bucket(known: Known, pages: int) -> dict[int, dict[bytes, bytes | None]]:
    parts: dict[int, dict[bytes, bytes | None]] = {}
    for key, value in known.items():
        parts.setdefault(_bucket(key, pages), {})[key] = value
    return parts


def _records(page: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    start = 0
    while start < len(page):
        key_length, mark = _HEAD.unpack_from(page, start)
        middle = start + _HEAD.size + key_length
        start_of_key, start = start + _HEAD.size, middle + max(0, mark - 1)
        yield page[start_of_key:middle], page[middle:start] if mark else None
