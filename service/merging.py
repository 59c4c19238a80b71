"""Merges into state values: RFC 7396 on their JSON text, refused where a text cannot be kept."""

import asyncio
from collections.abc import Mapping

from service.errors import BadInput, Fault, TooLarge, Unprocessable, escaped
from service.holds import Hold
from service.merge_patch import merge_patch
from service.model import Limits, StateKey, StoredValue, Value

QUICK_BYTES = 262_144
"""What is merged at once; more may take seconds if it is deep, which others must not wait for."""

SMALL_BYTES = 65_536
COST, MEMBER_BYTES = 6, 250
"""Bytes of memory that a merge takes: for each byte of text, and for each member, which becomes a
name, a value and their places in a mapping (at most one for each colon)."""

Patches = Mapping[StateKey, bytes]
Bases = Mapping[StateKey, StoredValue | None]


async def merged_values(
    patches: Patches, bases: Bases, limits: Limits, hold: Hold, threads: asyncio.Semaphore
) -> dict[StateKey, StoredValue]:
    """Return what each patch makes of the value under its key; a key without one has tag 0.

    Tag and expiry are those of the value that the merge was made of. Raises Unprocessable for raw
    values and those that name a member twice, BadInput for such patches, TooLarge for what would
    pass the limit of a value; and what `hold` raises, which is asked for the memory of large ones.
    What takes long runs in a thread, as many at a time as there are `threads`: others need some.
    """
    texts = [*patches.values(), *(base.value.data for base in bases.values() if base)]
    size = sum(map(len, texts))
    if size > SMALL_BYTES:
        hold.grow(COST * size + MEMBER_BYTES * sum(text.count(b":") for text in texts))
    if size <= QUICK_BYTES:
        return _all_merged(patches, bases, limits)
    async with threads:
        return await asyncio.to_thread(_all_merged, patches, bases, limits)


def _all_merged(patches: Patches, bases: Bases, limits: Limits) -> dict[StateKey, StoredValue]:
    return {key: _merged(key, bases.get(key), patch, limits) for key, patch in patches.items()}


def _merged(key: StateKey, base: StoredValue | None, patch: bytes, limits: Limits) -> StoredValue:
    pointer = f"/merge/{escaped(key)}"
    if base is not None and not base.value.is_json:
        fault = Fault(pointer, "the value is not JSON")
        raise Unprocessable("A raw value cannot be merged into.", fault, code="not_mergeable")
    try:
        data = merge_patch(base.value.data if base else None, patch)
    except BadInput as error:
        faults = (Fault(pointer + fault.pointer, fault.reason) for fault in error.faults)
        raise BadInput(error.detail, *faults) from None
    except Unprocessable as error:
        fault = Fault(pointer, "the value names a member twice")
        raise Unprocessable(error.detail, fault, code=error.code) from None
    if len(data) > limits.max_value_bytes:
        fault = Fault(pointer, f"would be {len(data)} bytes")
        limit = limits.max_value_bytes
        raise TooLarge(f"The merged value would pass {limit} bytes.", fault, limit=limit)
    if base is None:
        return StoredValue(Value(data), 0)
    value = Value(data, base.value.media_type)
    return StoredValue(value, base.tag, base.expires_at_ms)
