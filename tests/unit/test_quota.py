from pathlib import Path

import pytest

from service.memory.quota import Quota, QuotaSource, read_quota

MIB = 1_048_576
HOST_BYTES = 8_192 * MIB

V2_MOUNT = "30 23 0:26 {tree} {point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNT = "35 31 0:32 {tree} {point} rw,relatime - cgroup cgroup rw,memory"
V1_OTHER = "36 31 0:33 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu"


class FakeTree:
    """A file tree as the kernel would show it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc/self").mkdir(parents=True)

    def membership(self, *lines: str) -> None:
        (self.root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))

    def mounts(self, *lines: str) -> None:
        other = "22 1 8:1 / / rw - ext4 /dev/root rw"
        text = "".join(f"{line}\n" for line in (other, *lines))
        (self.root / "proc/self/mountinfo").write_text(text)

    def limit(self, path: str, text: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def quota(self, *, setting_mb: int | None = None, dyno_ram_mb: int | None = None) -> Quota:
        return read_quota(
            setting_mb=setting_mb,
            dyno_ram_mb=dyno_ram_mb,
            host_bytes=HOST_BYTES,
            root=self.root,
        )


@pytest.fixture
def tree(tmp_path: Path) -> FakeTree:
    return FakeTree(tmp_path)


def v2_tree(tree: FakeTree, *, path: str = "/app/web", mounted: str = "/") -> None:
    tree.membership(f"0::{path}")
    tree.mounts(V2_MOUNT.format(tree=mounted, point="/sys/fs/cgroup"))


def v1_tree(tree: FakeTree, *, path: str = "/app/web", mounted: str = "/") -> None:
    tree.membership("5:cpu:/elsewhere", f"4:memory:{path}", "0::/")
    tree.mounts(V1_OTHER, V1_MOUNT.format(tree=mounted, point="/sys/fs/cgroup/memory"))


def test_the_setting_goes_before_everything(tree: FakeTree) -> None:
    v2_tree(tree)
    tree.limit("/sys/fs/cgroup/app/web/memory.max", str(256 * MIB))
    quota = tree.quota(setting_mb=300, dyno_ram_mb=512)
    assert quota == Quota(bytes=300 * MIB, source=QuotaSource.SETTING)


def test_a_v2_group_limits_its_processes(tree: FakeTree) -> None:
    v2_tree(tree)
    tree.limit("/sys/fs/cgroup/app/web/memory.max", str(256 * MIB))
    quota = tree.quota(dyno_ram_mb=512)
    assert (quota.bytes, quota.source) == (256 * MIB, "cgroup2")
    assert quota.group == tree.root / "sys/fs/cgroup/app/web"


def test_the_smallest_limit_of_all_ancestors_wins(tree: FakeTree) -> None:
    v2_tree(tree, path="/a/b/c")
    tree.limit("/sys/fs/cgroup/a/memory.max", str(512 * MIB))
    tree.limit("/sys/fs/cgroup/a/b/memory.max", str(200 * MIB))
    tree.limit("/sys/fs/cgroup/a/b/c/memory.max", "max")
    quota = tree.quota()
    assert quota.bytes == 200 * MIB
    assert quota.group == tree.root / "sys/fs/cgroup/a/b"


def test_of_equal_limits_the_outermost_group_counts_because_it_fills_first(tree: FakeTree) -> None:
    v2_tree(tree, path="/a/b")
    tree.limit("/sys/fs/cgroup/a/memory.max", str(200 * MIB))
    tree.limit("/sys/fs/cgroup/a/b/memory.max", str(200 * MIB))
    assert tree.quota().group == tree.root / "sys/fs/cgroup/a"


def test_a_v1_group_limits_its_processes(tree: FakeTree) -> None:
    v1_tree(tree)
    tree.limit("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    tree.limit("/sys/fs/cgroup/memory/app/memory.limit_in_bytes", str(512 * MIB))
    tree.limit("/sys/fs/cgroup/memory/app/web/memory.limit_in_bytes", "9223372036854771712")
    quota = tree.quota(dyno_ram_mb=1_024)
    assert (quota.bytes, quota.source) == (512 * MIB, "cgroup1")
    assert quota.group == tree.root / "sys/fs/cgroup/memory/app"


def test_v2_goes_before_v1(tree: FakeTree) -> None:
    tree.membership("4:memory:/one", "0::/two")
    tree.mounts(
        V1_MOUNT.format(tree="/", point="/sys/fs/cgroup/memory"),
        V2_MOUNT.format(tree="/", point="/sys/fs/cgroup/unified"),
    )
    tree.limit("/sys/fs/cgroup/memory/one/memory.limit_in_bytes", str(128 * MIB))
    tree.limit("/sys/fs/cgroup/unified/two/memory.max", str(256 * MIB))
    assert tree.quota().source == "cgroup2"


@pytest.mark.parametrize("text", ["9223372036854771712", str(HOST_BYTES), "0", "max", "", "-1"])
def test_a_limit_that_limits_nobody_is_none(tree: FakeTree, text: str) -> None:
    v1_tree(tree)
    tree.limit("/sys/fs/cgroup/memory/app/web/memory.limit_in_bytes", text)
    assert tree.quota() == Quota(bytes=HOST_BYTES, source=QuotaSource.HOST)


def test_a_container_that_sees_only_its_own_group_finds_it_at_the_mount_point(
    tree: FakeTree,
) -> None:
    v2_tree(tree, path="/docker/abc/worker", mounted="/docker/abc")
    tree.limit("/sys/fs/cgroup/memory.max", str(300 * MIB))
    tree.limit("/sys/fs/cgroup/worker/memory.max", "max")
    quota = tree.quota()
    assert quota.bytes == 300 * MIB
    assert quota.group == tree.root / "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("path", "mounted"),
    [("/../other", "/"), ("/", "/.."), ("/docker/abc", "/docker/xyz"), ("/docker/ab", "/docker/a")],
)
def test_outside_of_the_mounted_tree_the_mount_point_limits_but_its_usage_is_not_ours(
    tree: FakeTree,
    path: str,
    mounted: str,
) -> None:
    v2_tree(tree, path=path, mounted=mounted)
    tree.limit("/sys/fs/cgroup/memory.max", str(300 * MIB))
    assert tree.quota() == Quota(bytes=300 * MIB, source=QuotaSource.CGROUP2, group=None)


def test_groups_that_are_hidden_from_us_are_passed_over(tree: FakeTree) -> None:
    v2_tree(tree, path="/a/b/c")
    tree.limit("/sys/fs/cgroup/a/memory.max", str(200 * MIB))
    assert tree.quota().bytes == 200 * MIB


def test_a_mount_point_with_a_space_and_a_path_with_a_colon_are_understood(tree: FakeTree) -> None:
    tree.membership("4:cpu,memory:/a:b")
    tree.mounts(V1_MOUNT.format(tree="/", point=r"/my\040groups"))
    tree.limit("/my groups/a:b/memory.limit_in_bytes", str(99 * MIB))
    assert tree.quota().bytes == 99 * MIB


def test_the_dynos_memory_goes_before_the_hosts(tree: FakeTree) -> None:
    assert tree.quota(dyno_ram_mb=512) == Quota(bytes=512 * MIB, source=QuotaSource.DYNO_RAM)


def test_without_any_limit_the_host_is_the_quota(tree: FakeTree) -> None:
    assert tree.quota() == Quota(bytes=HOST_BYTES, source=QuotaSource.HOST)


def test_a_hierarchy_that_is_mounted_but_does_not_hold_us_says_nothing(tree: FakeTree) -> None:
    tree.membership("5:cpu:/app")
    tree.mounts(V1_MOUNT.format(tree="/", point="/sys/fs/cgroup/memory"))
    tree.limit("/sys/fs/cgroup/memory/memory.limit_in_bytes", str(99 * MIB))
    assert tree.quota().source == "host"
