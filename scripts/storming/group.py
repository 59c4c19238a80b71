"""A memory group of the kernel, v1 or v2: the quota of a storm, and what is used of it."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LEAVE_SECONDS = 5.0
POLL_SECONDS = 0.02


class NoGroup(Exception):
    """A group cannot be made here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """Where groups can be made, and what their files are called."""

    source: str
    parent: Path
    limit: str
    counter: str
    swap: dict[str, str]
    peak: str
    kills: str
    used: frozenset[str]


V1 = Hierarchy(
    source="cgroup1",
    parent=Path("/sys/fs/cgroup/memory"),
    limit="memory.limit_in_bytes",
    counter="memory.usage_in_bytes",
    swap={"memory.swappiness": "0"},
    peak="memory.max_usage_in_bytes",
    kills="memory.oom_control",
    used=frozenset({"total_rss", "total_swap"}),
)
V2 = Hierarchy(
    source="cgroup2",
    parent=Path("/sys/fs/cgroup"),
    limit="memory.max",
    counter="memory.current",
    swap={"memory.swap.max": "0"},
    peak="memory.peak",
    kills="memory.events",
    used=frozenset({"anon"}),  # and nothing can be swapped
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group with a limit and no swap."""

    hierarchy: Hierarchy
    path: Path

    def command(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Make the command that enters the group before its program takes a page."""
        return ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.path), *words)

    @property
    def usage(self) -> Path:
        """The file that tells all that counts, the page cache too; hardly late."""
        return self.path / self.hierarchy.counter

    def used_bytes(self) -> int:
        """Anonymous memory and swap of all its processes; may lag by a second."""
        return sum_lines((self.path / "memory.stat").read_text(), self.hierarchy.used)

    def peak_bytes(self) -> int:
        """The most that the kernel has counted, with its own memory and the page cache."""
        with suppress(OSError):  # older kernels have no such counter in v2
            return int((self.path / self.hierarchy.peak).read_text())
        return 0

    def kills(self) -> int:
        """Processes that were killed because the group was full."""
        return sum_lines((self.path / self.hierarchy.kills).read_text(), frozenset({"oom_kill"}))


def sum_lines(text: str, names: frozenset[str]) -> int:
    """Add up the lines `name number` of the given names."""
    pairs = (line.split() for line in text.splitlines())
    return sum(int(number) for name, number in pairs if name in names)


@contextmanager
def memory_group(quota_bytes: int) -> Iterator[Group]:
    """Make a group; it is gone at the end, as its processes must be. Raises NoGroup."""
    hierarchy = find_hierarchy()
    path = hierarchy.parent / f"ballast-storm-{os.getpid()}-{time.monotonic_ns()}"
    group = Group(hierarchy=hierarchy, path=path)
    try:
        path.mkdir()
    except OSError as error:
        raise NoGroup(f"memory groups cannot be made here: {error.strerror}") from error
    try:
        _limit(group, quota_bytes)
        yield group
    finally:
        _remove(path)


def find_hierarchy() -> Hierarchy:
    """Return the hierarchy of this machine. Raises NoGroup."""
    controllers = V2.parent / "cgroup.subtree_control"
    if (V1.parent / V1.limit).exists():
        return V1
    if controllers.exists() and "memory" in controllers.read_text().split():
        return V2
    raise NoGroup("no memory groups are mounted here")


def _limit(group: Group, quota_bytes: int) -> None:
    (group.path / group.hierarchy.limit).write_text(str(quota_bytes))
    for name, text in group.hierarchy.swap.items():
        with suppress(OSError):  # a kernel without swap accounting
            (group.path / name).write_text(text)


def _remove(path: Path) -> None:
    """Remove it when the kernel has let go of the last process."""
    deadline = time.monotonic() + LEAVE_SECONDS
    while path.exists():
        try:
            path.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
