"""What psutil knows about the machine and its processes; nobody else imports it."""

import contextlib

import psutil  # type: ignore[import-untyped] # ships no types

from service.vitals import HostMemory


def read_host() -> HostMemory:
    """Memory of the whole host, in 30 us; `free` is what could be had without swapping."""
    memory = psutil.virtual_memory()
    return HostMemory(total_bytes=int(memory.total), free_bytes=int(memory.available))


def has_pss() -> bool:
    """The kernel shares out common pages (PSS); not on macOS, nor in every sandbox."""
    return _pss_bytes(psutil.Process()) is not None


def own_rss_bytes() -> int:
    """Resident bytes of this process."""
    return int(psutil.Process().memory_info().rss)


def tree_bytes() -> int:
    """PSS + swap of this process and all below it, RSS where there is no PSS; 1 to 4 ms."""
    own = psutil.Process()
    children: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error, OSError):
        children = own.children(recursive=True)
    return sum(_process_bytes(process) for process in (own, *children))


def _process_bytes(process: psutil.Process) -> int:
    """One process of the tree; one that has ended counts nothing."""
    pss_bytes = _pss_bytes(process)
    if pss_bytes is not None:
        return pss_bytes
    with contextlib.suppress(psutil.Error, OSError):
        return int(process.memory_info().rss)
    return 0


def _pss_bytes(process: psutil.Process) -> int | None:
    """PSS + swap; None = not told here, or not to us."""
    with contextlib.suppress(psutil.Error, OSError):
        info = process.memory_full_info()
        return int(info.pss + info.swap) if getattr(info, "pss", 0) else None
    return None
