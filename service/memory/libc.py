"""The C library that this process runs on, whatever it offers."""

import ctypes
import functools


@functools.cache
def libc() -> ctypes.CDLL:
    """Bind what the process has loaded already; a call through it drops the GIL."""
    return ctypes.CDLL(None)
