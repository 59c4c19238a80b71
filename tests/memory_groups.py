"""Memory groups of the kernel, v1 or v2, for tests that need a real quota."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SMALL_REQUESTS = {
    "MAX_BODY_BYTES": "1048576",
    "MAX_ANSWER_BYTES": "1048576",
    "MAX_MESSAGE_BYTES": "524288",
    "MAX_VALUE_BYTES": "524288",
}
"""Settings that leave most of a small quota to the hot tier."""


@dataclass(frozen=True)
class Hierarchy:
    """Where memory groups can be made, and what their files are called."""

    source: str
    parent: Path
    limit: str
    counter: str


V1 = Hierarchy(
    source="cgroup1",
    parent=Path("/sys/fs/cgroup/memory"),
    limit="memory.limit_in_bytes",
    counter="memory.usage_in_bytes",
)
V2 = Hierarchy(
    source="cgroup2",
    parent=Path("/sys/fs/cgroup"),
    limit="memory.max",
    counter="memory.current",
)


def has_memory(hierarchy: Hierarchy) -> bool:
    if hierarchy is V1:
        return (V1.parent / V1.limit).exists()
    controllers = V2.parent / "cgroup.subtree_control"
    return controllers.exists() and "memory" in controllers.read_text().split()


@contextmanager
def memory_groups(hierarchy: Hierarchy, name: str, quota_bytes: int) -> Iterator[tuple[Path, Path]]:
    """Make a group with a limit and an unlimited one in it; skip where that is not allowed.

    Each use has its own: the kernel may count processes that have ended for 2 s more.
    """
    with ExitStack() as stack:
        try:
            groups = _make_groups(hierarchy, f"ballast-{name}-{os.getpid()}", quota_bytes, stack)
        except OSError as error:
            pytest.skip(f"memory groups cannot be made here: {error.strerror}")
        yield groups


def _make_groups(
    hierarchy: Hierarchy, name: str, quota_bytes: int, stack: ExitStack
) -> tuple[Path, Path]:
    outer = hierarchy.parent / name
    inner = outer / "inner"
    outer.mkdir()
    stack.callback(outer.rmdir)
    (outer / hierarchy.limit).write_text(str(quota_bytes))
    if hierarchy is V2:
        (outer / "cgroup.subtree_control").write_text("+memory")
    inner.mkdir()
    stack.callback(inner.rmdir)
    return outer, inner


def find_hierarchy() -> Hierarchy:
    """Return the hierarchy of this machine; skip the test where there is none."""
    for candidate in (V1, V2):
        if has_memory(candidate):
            return candidate
    pytest.skip("no memory groups are mounted here")
