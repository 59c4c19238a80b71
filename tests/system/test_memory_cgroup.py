"""Quota, usage and trim in a real memory group of the kernel, v1 or v2, whichever there is."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.storming.group import Hierarchy
from service.memory.levers import MallocTrim
from service.memory.machine import own_rss_bytes
from tests.memory_groups import find_hierarchy, memory_groups

MIB = 1_048_576
QUOTA_BYTES = 256 * MIB
ROOT = Path(__file__).resolve().parents[2]
TRIM_IS_THERE = MallocTrim(own_rss_bytes).available()


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


def start_child(group: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tests.system.memory_child", str(group), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=50)


@pytest.fixture(scope="module")
def hierarchy() -> Hierarchy:
    return find_hierarchy()


@pytest.fixture(scope="module")
def report(hierarchy: Hierarchy, tmp_path_factory: pytest.TempPathFactory) -> Report:
    scratch = tmp_path_factory.mktemp("cache") / "file"
    with memory_groups(hierarchy, "look", QUOTA_BYTES) as (outer, inner):
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
    with memory_groups(hierarchy, "governed", QUOTA_BYTES) as (_, inner):
        done = start_child(inner, "grow-governed")
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["peak"] < 0.9 * QUOTA_BYTES
    assert json.loads(done.stdout)["held"] > QUOTA_BYTES / 3


def test_without_the_governor_the_kernel_kills_it(hierarchy: Hierarchy) -> None:
    with memory_groups(hierarchy, "alone", QUOTA_BYTES) as (_, inner):
        assert start_child(inner, "grow-alone").returncode == -signal.SIGKILL
