"""The heap of this process: what its allocators hold from the OS, and what of it is in use.

Two allocators serve CPython on Linux. glibc's malloc counts itself in mallinfo2(3), from glibc 2.33
on; it walks its free chunks for it: 0.3 us in a fresh process, 8 ms among 100,000 holes. pymalloc,
for objects up to 512 bytes, takes its arenas past malloc and tells their state only as text
(`_PyObject_DebugMallocStats`, exported for guppy3): 10 us, 130 us with 328 MB in it. Where either
does not answer, nothing is known to be free, and the reading says that it is not exact.
"""

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

from service.clock import Clock
from service.memory.kept_file import KeptFile, number_after
from service.memory.libc import libc
from service.memory.machine import own_rss_bytes
from service.vitals import HeapReading

KIB = 1_024
MIN_AGE_SECONDS = 1.0
# A reading that took t is kept for 500 t: polls cost at most 0.2 % of the time, whatever they do.
AGE_PER_COST = 500
STATS_BYTES = 16_384

ARENAS = re.compile(rb"^(\d+) arenas \* (\d+) bytes/arena", re.MULTILINE)
BLOCKS = re.compile(rb"^# bytes in allocated blocks += +([\d,]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Allocator:
    """One allocator: bytes held from the OS, and bytes of them in use."""

    held_bytes: int
    used_bytes: int


class _MallInfo2(ctypes.Structure):
    """`struct mallinfo2` of <malloc.h>."""

    _fields_ = [  # type: ignore[mutable-override] # as ctypes has it
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


class HeapProbe:
    """Reads the heap for /health: a poll within a second of the last one costs nothing."""

    def __init__(self, clock: Clock, *, root: Path = Path("/")) -> None:
        self._clock = clock
        self._status = root / "proc/self/status"
        self._reading: HeapReading | None = None
        self._due = 0.0

    def read(self) -> HeapReading:
        """The heap now, or as it was at most a second ago (longer if looking takes long)."""
        now = self._clock.monotonic()
        if self._reading is None or now >= self._due:
            self._reading = self._measure()
            cost_seconds = self._clock.monotonic() - now
            self._due = now + max(MIN_AGE_SECONDS, AGE_PER_COST * cost_seconds)
        return self._reading

    def _measure(self) -> HeapReading:
        rss_bytes, private_bytes = self._resident()
        return heap_reading(rss_bytes, private_bytes, malloc(), pymalloc())

    def _resident(self) -> tuple[int, int]:
        """RSS, and the part of it that is nobody else's: anonymous pages, swapped ones too."""
        try:
            with KeptFile(self._status) as status:
                text = status.read()
        except OSError:
            return (own_rss_bytes(),) * 2
        rss, anonymous, swap = (
            number_after(label, text) for label in (b"VmRSS:", b"RssAnon:", b"VmSwap:")
        )
        rss = rss or 0
        return rss * KIB, ((rss if anonymous is None else anonymous) + (swap or 0)) * KIB


def heap_reading(
    rss_bytes: int,
    private_bytes: int,
    malloc: Allocator | None,
    pymalloc: Allocator | None,
) -> HeapReading:
    """Put the figures together; with an allocator unknown, all private memory counts as in use.

    malloc goes on counting pages that a trim has given back, so what is held cannot be more than
    the private memory of the process.
    """
    if malloc is None or pymalloc is None:
        return HeapReading(
            rss_bytes=rss_bytes,
            total_bytes=private_bytes,
            used_bytes=private_bytes,
            is_exact=False,
        )
    used_bytes = malloc.used_bytes + pymalloc.used_bytes
    held_bytes = min(malloc.held_bytes + pymalloc.held_bytes, private_bytes)
    return HeapReading(
        rss_bytes=rss_bytes,
        total_bytes=max(held_bytes, used_bytes),
        used_bytes=used_bytes,
        is_exact=True,
    )


def malloc(library: object | None = None) -> Allocator | None:
    """State of glibc's malloc over all its arenas; None on another C library or an older one."""
    function = getattr(library or libc(), "mallinfo2", None)
    if function is None:
        return None
    function.restype = _MallInfo2
    info = function()
    return Allocator(info.arena + info.hblkhd, info.uordblks + info.hblkhd)


def pymalloc(library: object | None = None) -> Allocator | None:
    """State of Python's allocator of small objects; None where it does not tell."""
    return parse_pymalloc(_pymalloc_text(library or libc()))


def parse_pymalloc(text: bytes) -> Allocator | None:
    """Read the figures from the text of `sys._debugmallocstats`."""
    arenas, blocks = ARENAS.search(text), BLOCKS.search(text)
    if arenas is None or blocks is None:
        return None
    return Allocator(int(arenas[1]) * int(arenas[2]), int(blocks[1].replace(b",", b"")))


def _pymalloc_text(library: object) -> bytes:
    """The interpreter's own statistics, written to memory instead of to stderr."""
    write_stats = getattr(ctypes.pythonapi, "_PyObject_DebugMallocStats", None)
    open_memory = getattr(library, "fmemopen", None)
    if write_stats is None or open_memory is None:
        return b""
    buffer = ctypes.create_string_buffer(STATS_BYTES)
    open_memory.restype = ctypes.c_void_p
    address = open_memory(buffer, ctypes.c_size_t(STATS_BYTES), b"w")
    if address is None:
        return b""
    write_stats(ctypes.c_void_p(address))
    libc().fclose(ctypes.c_void_p(address))
    return buffer.value
