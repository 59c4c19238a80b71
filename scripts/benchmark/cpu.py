"""CPU time of processes, from /proc: all their threads, user and system."""

import os
from pathlib import Path

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def read_seconds(stat: str) -> float:
    """Read utime and stime; the name before them may hold spaces and brackets."""
    fields = stat.rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_SECONDS


def cpu_seconds(pid: int) -> float:
    """CPU seconds that a process has used."""
    return read_seconds(Path(f"/proc/{pid}/stat").read_text())


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
