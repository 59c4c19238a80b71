"""Memory groups of the kernel, v1 or v2, for tests that need a real quota."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from scripts.storming import group
from scripts.storming.group import V2, Hierarchy

SMALL_REQUESTS = {
    "MAX_BODY_BYTES": "1048576",
    "MAX_ANSWER_BYTES": "1048576",
    "MAX_MESSAGE_BYTES": "524288",
    "MAX_VALUE_BYTES": "524288",
}
"""Settings that leave most of a small quota to the hot tier."""


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
    try:
        return group.find_hierarchy()
    except group.NoGroup as error:
        pytest.skip(str(error))
