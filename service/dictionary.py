"""Packs small data by a dictionary of what state values look like: zstd; pure but for its file.

Packed data is the one block of a zstd frame, without the headers of frame and block: these are the
same for all but the length of the block, and without them a pre-key is an allocation less long.
"""

from functools import cache
from importlib.resources import files

from zstandard import (
    FORMAT_ZSTD1_MAGICLESS,
    ZstdCompressionDict,
    ZstdCompressionParameters,
    ZstdCompressor,
    ZstdDecompressor,
)

DICTIONARY = 1
"""The number of dictionary.zstd, which scripts/dictionary.py has made; 15 is the last."""

LEAST_BYTES = 96
"""What is shorter would hardly get into a smaller allocation of Redis."""

MOST_BYTES = 131_072
"""All that fits into a block: it takes less than half a millisecond."""

_LEVEL = 3
_FRAME_HEAD = b"\x00\x38"  # no checksum, no sizes, no dictionary's id; a window of MOST_BYTES
_BLOCK_HEAD_BYTES = 3
_HEAD_BYTES = len(_FRAME_HEAD) + _BLOCK_HEAD_BYTES


def pack(data: bytes) -> bytes | None:
    """Return data packed, None if it would not be an eighth shorter."""
    frame = _compressor().compress(data)
    block = frame[_HEAD_BYTES:]
    is_one_block = frame[len(_FRAME_HEAD) : _HEAD_BYTES] == _block_head(block)
    return block if is_one_block and len(block) * 8 <= len(data) * 7 else None


def unpack(block: bytes, length: int, dictionary: int) -> bytes:
    """Return the data that was packed, which has `length` bytes: no more are ever made of it."""
    if dictionary != DICTIONARY:
        raise ValueError(f"there is no dictionary {dictionary}")
    frame = b"".join((_FRAME_HEAD, _block_head(block), block))
    return _decompressor().decompress(frame, max_output_size=length)


def _block_head(block: bytes) -> bytes:
    """Return what stands before the last block of a frame, if it is a compressed one."""
    return (len(block) << 3 | 0b101).to_bytes(_BLOCK_HEAD_BYTES, "little")


@cache
def _compressor() -> ZstdCompressor:
    parameters = ZstdCompressionParameters.from_level(
        _LEVEL,
        window_log=MOST_BYTES.bit_length() - 1,
        format=FORMAT_ZSTD1_MAGICLESS,
        write_content_size=0,
        write_checksum=0,
        write_dict_id=0,
    )
    dictionary = _dictionary()
    dictionary.precompute_compress(compression_params=parameters)
    return ZstdCompressor(compression_params=parameters, dict_data=dictionary)


@cache
def _decompressor() -> ZstdDecompressor:
    return ZstdDecompressor(dict_data=_dictionary(), format=FORMAT_ZSTD1_MAGICLESS)


def _dictionary() -> ZstdCompressionDict:
    return ZstdCompressionDict(files("service").joinpath("dictionary.zstd").read_bytes())
