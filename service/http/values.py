"""What may be kept as a state value, whichever way it comes."""

import re

from service.codec import MOST_MEDIA_TYPE_BYTES
from service.errors import BadInput, Fault, TooLarge
from service.json_text import check_value
from service.model import Limits

NULL = b"null"

_LINE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def check_json_value(data: bytes, pointer: str, limits: Limits) -> None:
    """Raise unless the text may be kept as a state value."""
    if data.strip() == NULL:
        raise BadInput("null is not a value: delete the key instead.", Fault(pointer, "is null"))
    check_size(data, pointer, limits.max_value_bytes)
    check_value(data, pointer, max_depth=limits.max_json_depth)


def check_size(data: bytes, pointer: str, limit: int) -> None:
    """Raise TooLarge if there are more bytes than the limit."""
    if len(data) > limit:
        reason = f"is {len(data)} bytes"
        raise TooLarge(f"More than {limit} bytes.", Fault(pointer, reason), limit=limit)


def check_media_type(media_type: str, pointer: str) -> None:
    """Raise BadInput if a content type cannot be kept and returned as it is.

    It becomes a line of a header: an end of line in it would let its sender write more of them.
    """
    if len(media_type) > MOST_MEDIA_TYPE_BYTES or not _LINE.fullmatch(media_type):
        reason = f"must be 1 to {MOST_MEDIA_TYPE_BYTES} bytes of ASCII without control characters"
        raise BadInput("The content type cannot be kept.", Fault(pointer, reason))
