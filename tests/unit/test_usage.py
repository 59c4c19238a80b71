import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped] # ships no types
import pytest

from service.memory import machine, usage
from service.memory.group_usage import BEYOND_LOOKS, LOOK_SECONDS
from service.memory.kept_file import KeptFile, number_after
from service.memory.machine import own_rss_bytes, read_host, tree_bytes
from service.memory.quota import Quota, QuotaSource
from service.memory.tree_usage import TreeUsage
from service.memory.usage import UsageProbe, open_probe
from tests.memory_fakes import FakeClock

pytestmark = pytest.mark.anyio

MIB = 1_048_576
OWN_BYTES = 20 * os.sysconf("SC_PAGE_SIZE")
V1_STAT = f"cache 900\nrss 5\nrss_huge 7\nswap 1\ntotal_cache 9000\ntotal_rss {OWN_BYTES + 4096}\n"
V2_STAT = f"anon {OWN_BYTES + 8192}\nfile 100000\nkernel 3\ninactive_anon 77\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file tree in which this process has 20 pages of its own."""
    statm = tmp_path / "proc/self/statm"
    statm.parent.mkdir(parents=True)
    statm.write_text("100 30 10 1 0 50 0\n")
    return tmp_path


def look_on(probe: UsageProbe, clock: FakeClock) -> list[int]:
    """Sample for as long as the group's figures may lag, at the times when it is looked at."""
    looks = []
    for _ in range(BEYOND_LOOKS):
        clock.seconds += LOOK_SECONDS
        looks.append(probe.used_bytes())
    return looks


def group_quota(group: Path, source: QuotaSource) -> Quota:
    return Quota(bytes=100 * MIB, source=source, group=group)


def test_a_v1_group_uses_its_anonymous_memory_and_swap_but_no_cache(root: Path) -> None:
    (root / "memory.stat").write_text(V1_STAT + "total_rss_huge 1\ntotal_swap 1000\n")
    with open_probe(group_quota(root, QuotaSource.CGROUP1), root=root) as probe:
        reading = probe.read()
        assert probe.used_bytes() == OWN_BYTES + 4096 + 1000
        assert probe.degraded == ()
    assert (reading.used_bytes, reading.quota_bytes) == (OWN_BYTES + 4096 + 1000, 100 * MIB)
    assert (reading.usage_source, reading.quota_source) == ("cgroup1", "cgroup1")


def test_a_v1_group_without_swap_accounting_says_so(root: Path) -> None:
    (root / "memory.stat").write_text(V1_STAT)
    with open_probe(group_quota(root, QuotaSource.CGROUP1), root=root) as probe:
        assert probe.used_bytes() == OWN_BYTES + 4096
        assert probe.degraded == ("usage_without_swap",)


def test_a_v2_group_uses_its_anonymous_memory_and_swap_but_no_cache(root: Path) -> None:
    (root / "memory.stat").write_text(V2_STAT)
    (root / "memory.swap.current").write_text("500\n")
    with open_probe(group_quota(root, QuotaSource.CGROUP2), root=root) as probe:
        assert probe.read().usage_source == "cgroup2"
        assert probe.used_bytes() == OWN_BYTES + 8192 + 500
        assert probe.degraded == ()


def test_a_v2_group_without_swap_accounting_says_so(root: Path) -> None:
    (root / "memory.stat").write_text(V2_STAT)
    with open_probe(group_quota(root, QuotaSource.CGROUP2), root=root) as probe:
        assert probe.used_bytes() == OWN_BYTES + 8192
        assert probe.degraded == ("usage_without_swap",)


async def test_a_groups_figures_need_no_correction(root: Path) -> None:
    for source, text in ((QuotaSource.CGROUP1, V1_STAT), (QuotaSource.CGROUP2, V2_STAT)):
        (root / "memory.stat").write_text(text)
        with open_probe(group_quota(root, source), root=root) as probe:
            before = probe.read()
            await probe.correct()
            assert probe.read() == before


@pytest.mark.parametrize("source", [QuotaSource.CGROUP1, QuotaSource.CGROUP2])
def test_our_own_growth_is_seen_at_once_while_the_groups_figures_lag(
    root: Path,
    source: QuotaSource,
) -> None:
    stat, statm = root / "memory.stat", root / "proc/self/statm"
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    told_bytes = 50 * page_bytes
    stat.write_text(f"anon {told_bytes}\ntotal_rss {told_bytes}\n")
    clock = FakeClock()
    with open_probe(group_quota(root, source), clock=clock, root=root) as probe:
        settled = look_on(probe, clock)
        statm.write_text("100 37 10 1 0 50 0\n")
        grown = probe.used_bytes()
        statm.write_text("100 22 10 1 0 50 0\n")
        shrunk = probe.used_bytes()
    assert set(settled) == {told_bytes}
    assert grown == told_bytes + 7 * page_bytes
    assert shrunk == told_bytes - 8 * page_bytes


@pytest.mark.parametrize("source", [QuotaSource.CGROUP1, QuotaSource.CGROUP2])
def test_what_other_processes_use_counts_once_it_lasts(root: Path, source: QuotaSource) -> None:
    stat, page_bytes = root / "memory.stat", os.sysconf("SC_PAGE_SIZE")
    stat.write_text(f"anon {20 * page_bytes}\ntotal_rss {20 * page_bytes}\n")
    clock = FakeClock()
    with open_probe(group_quota(root, source), clock=clock, root=root) as probe:
        before = probe.used_bytes()
        stat.write_text(f"anon {90 * page_bytes}\ntotal_rss {90 * page_bytes}\n")
        after = look_on(probe, clock)[-1]
    assert (before, after) == (20 * page_bytes, 90 * page_bytes)


@pytest.mark.parametrize("source", [QuotaSource.CGROUP1, QuotaSource.CGROUP2])
def test_figures_that_lag_behind_us_never_hide_our_own_pages(
    root: Path, source: QuotaSource
) -> None:
    (root / "memory.stat").write_text("anon 4096\ntotal_rss 4096\n")
    with open_probe(group_quota(root, source), root=root) as probe:
        assert probe.used_bytes() == 20 * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("source", [QuotaSource.CGROUP1, QuotaSource.CGROUP2])
@pytest.mark.parametrize("text", [None, "nothing known\n", "anon x\ntotal_rss x\n"])
def test_a_group_that_does_not_tell_leaves_the_process_tree(
    tmp_path: Path,
    source: QuotaSource,
    text: str | None,
) -> None:
    if text is not None:
        (tmp_path / "memory.stat").write_text(text)
    with open_probe(group_quota(tmp_path, source)) as probe:
        assert probe.read().usage_source in {"pss", "rss"}
        assert probe.read().quota_source == source


def test_a_quota_that_no_group_has_set_is_measured_on_the_process_tree() -> None:
    with open_probe(Quota(bytes=1 << 40, source=QuotaSource.SETTING)) as probe:
        assert 0 < probe.used_bytes() < 2 * own_rss_bytes()


def test_growth_of_the_process_is_seen_at_once(still_heap: None) -> None:
    with open_probe(Quota(bytes=1 << 40, source=QuotaSource.HOST)) as probe:
        before_bytes = probe.used_bytes()
        ballast = os.urandom(16 * MIB)
        assert probe.used_bytes() - before_bytes > 15 * MIB
        assert len(ballast) == 16 * MIB


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    code = "import sys; x = b'x' * (32 << 20); print(len(x), flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.communicate()


async def test_children_count_from_the_next_correction_on(
    child: subprocess.Popen[bytes],
) -> None:
    with open_probe(Quota(bytes=1 << 40, source=QuotaSource.HOST)) as probe:
        with_child_bytes = probe.used_bytes()
        child.communicate()
        await probe.correct()
        assert with_child_bytes - probe.used_bytes() > 30 * MIB


def test_a_system_without_proc_is_measured_all_the_same(tmp_path: Path) -> None:
    source = TreeUsage(FakeClock(), tmp_path)
    assert source.read() > MIB
    source.close()


def test_rss_alone_is_named_as_such() -> None:
    source = TreeUsage(FakeClock())
    source.name = "rss"
    assert source.degraded == ("usage_is_rss",)
    source.close()


def test_the_tree_is_at_least_a_good_part_of_this_process() -> None:
    assert own_rss_bytes() / 2 < tree_bytes()


def test_the_host_has_memory_and_not_less_than_is_free() -> None:
    host = read_host()
    assert 0 < host.free_bytes <= host.total_bytes


def test_a_kept_file_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "figure"
    path.write_text("1")
    with KeptFile(path) as file:
        assert file.read() == b"1"
        path.write_text("2")
        assert file.read() == b"2"


def test_a_kept_file_whose_descriptor_went_bad_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "figure"
    path.write_text("1")
    with KeptFile(path) as file:
        os.close(file._descriptor)
        assert file.read() == b"1"


def test_a_kept_file_may_be_closed_twice(tmp_path: Path) -> None:
    path = tmp_path / "figure"
    path.write_text("1")
    file = KeptFile(path)
    file.close()
    file.close()
    with pytest.raises(FileNotFoundError):
        KeptFile(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("label", "text", "number"),
    [
        (b"anon ", b"anon 5\nfile 6\n", 5),
        (b"anon ", b"inactive_anon 4\nanon 5\n", 5),
        (b"anon ", b"inactive_anon 4\n", None),
        (b"VmRSS:", b"Name:\tpython\nVmRSS:\t   1234 kB\n", 1234),
        (b"x ", b"", None),
    ],
)
def test_numbers_are_found_by_the_whole_name_of_their_line(
    label: bytes,
    text: bytes,
    number: int | None,
) -> None:
    assert number_after(label, text) == number


def test_a_process_that_has_ended_uses_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        ended = psutil.Process(process.pid)
        process.wait()
    assert machine._process_bytes(ended) == 0


def test_only_one_module_imports_psutil() -> None:
    package = Path(usage.__file__).parent
    sources = {path.name: path.read_text() for path in package.glob("*.py")}
    assert [name for name, text in sources.items() if re.search(r"import psutil", text)] == [
        "machine.py"
    ]
