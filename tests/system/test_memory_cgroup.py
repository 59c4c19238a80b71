"""Quota, usage and trim in a real memory group of the kernel, v1 or v2, whichever there is."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.memory.levers import MallocTrim
from service.memory.machine import own_rss_bytes

MIB = 1_048_576
QUOTA_BYTES = 256 * MIB
ROOT = Path(__file__).resolve().parents[2]
TRIM_IS_THERE = MallocTrim(own_rss_bytes).available()


@dataclass(frozen=True)
class Hierarchy:
    """Where memory groups can be made, and what their files are called."""

    source: str
    parent: Path
    limit: str
    counter: str


@dataclass(frozen=True)
class Report:
    """What the child saw; bytes."""

    quota: int
    quota_source: str
    group: str
    usage_source: str
    moved_by_file: int
    counter_moved_by_file: int
    moved_by_blobs: int
    still_held: int
    trim_bytes: int
    left: int


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
def memory_groups(hierarchy: Hierarchy, name: str) -> Iterator[tuple[Path, Path]]:
    """Make a group with a limit and an unlimited one in it; skip where that is not allowed.

    Each use has its own: the kernel may count processes that have ended for 2 s more.
    """
    with ExitStack() as stack:
        try:
            groups = make_groups(hierarchy, f"ballast-{name}-{os.getpid()}", stack)
        except OSError as error:
            pytest.skip(f"memory groups cannot be made here: {error.strerror}")
        yield groups


def make_groups(hierarchy: Hierarchy, name: str, stack: ExitStack) -> tuple[Path, Path]:
    outer = hierarchy.parent / name
    inner = outer / "inner"
    outer.mkdir()
    stack.callback(outer.rmdir)
    (outer / hierarchy.limit).write_text(str(QUOTA_BYTES))
    if hierarchy is V2:
        (outer / "cgroup.subtree_control").write_text("+memory")
    inner.mkdir()
    stack.callback(inner.rmdir)
    return outer, inner


def start_child(group: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tests.system.memory_child", str(group), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=50)


@pytest.fixture(scope="module")
def hierarchy() -> Hierarchy:
    for candidate in (V1, V2):
        if has_memory(candidate):
            return candidate
    pytest.skip("no memory groups are mounted here")


@pytest.fixture(scope="module")
def report(hierarchy: Hierarchy, tmp_path_factory: pytest.TempPathFactory) -> Report:
    scratch = tmp_path_factory.mktemp("cache") / "file"
    with memory_groups(hierarchy, "look") as (outer, inner):
        done = start_child(inner, "look", str(outer / hierarchy.counter), str(scratch))
    assert done.returncode == 0, done.stderr.decode()
    return Report(**json.loads(done.stdout))


def test_the_quota_is_the_limit_of_the_group_above(hierarchy: Hierarchy, report: Report) -> None:
    assert (report.quota, report.quota_source) == (QUOTA_BYTES, hierarchy.source)
    assert Path(report.group).parent == hierarchy.parent


def test_the_usage_is_that_of_the_group_that_limits(hierarchy: Hierarchy, report: Report) -> None:
    assert report.usage_source == hierarchy.source
    assert 62 * MIB < report.moved_by_blobs < 70 * MIB


def test_the_page_cache_of_a_written_file_is_not_in_use(report: Report) -> None:
    # The kernel's own counter is the control: the file really was charged to the group.
    assert report.counter_moved_by_file > 45 * MIB
    assert report.moved_by_file < 2 * MIB


@pytest.mark.skipif(not TRIM_IS_THERE, reason="this C library has no malloc_trim")
def test_a_trim_gives_back_what_a_free_does_not(report: Report) -> None:
    assert report.still_held > 32 * MIB
    assert report.trim_bytes > 0.9 * report.still_held - MIB
    assert report.left < 6 * MIB


def test_a_governor_keeps_a_growing_process_alive(hierarchy: Hierarchy) -> None:
    with memory_groups(hierarchy, "governed") as (_, inner):
        done = start_child(inner, "grow-governed")
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["peak"] < 0.9 * QUOTA_BYTES
    assert json.loads(done.stdout)["held"] > QUOTA_BYTES / 3


def test_without_the_governor_the_kernel_kills_it(hierarchy: Hierarchy) -> None:
    with memory_groups(hierarchy, "alone") as (_, inner):
        assert start_child(inner, "grow-alone").returncode == -signal.SIGKILL
