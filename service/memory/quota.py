"""The quota: how many bytes this process may use, and who said so.

Control groups are found as the kernel tells them (proc(5), cgroups(7)): /proc/self/cgroup names
our group, /proc/self/mountinfo says where its tree is mounted. A fixed path under /sys would say
"unlimited" in a nested group.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

MIB = 1_048_576


class QuotaSource(StrEnum):
    """Who set the quota, in the order in which they are asked."""

    SETTING = "setting"
    CGROUP2 = "cgroup2"
    CGROUP1 = "cgroup1"
    DYNO_RAM = "dyno_ram"
    HOST = "host"


LIMIT_FILES = {
    QuotaSource.CGROUP2: "memory.max",
    QuotaSource.CGROUP1: "memory.limit_in_bytes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The bytes that this process may use, and who says so.

    `group` is the directory of the control group that does, if we are known to be inside it.
    """

    bytes: int
    source: QuotaSource
    group: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mount:
    """One mounted tree of control groups: which group of the hierarchy is seen at which place."""

    source: QuotaSource
    root: str
    point: Path


def read_quota(
    *,
    setting_mb: int | None,
    dyno_ram_mb: int | None,
    host_bytes: int,
    root: Path = Path("/"),
) -> Quota:
    """Find the quota: setting > cgroup v2 > cgroup v1 > DYNO_RAM > host; `root` is the file tree.

    Megabytes are MiB. A group's limit counts only below `host_bytes`: v1 writes "none" as a huge
    number, and more than there is limits nobody.
    """
    if setting_mb is not None:
        return Quota(bytes=setting_mb * MIB, source=QuotaSource.SETTING)
    quotas = [quota for quota in _group_quotas(root) if 0 < quota.bytes < host_bytes]
    for source in LIMIT_FILES:
        # The first of equals is the outermost group: it is the one that fills up first.
        own = min((q for q in quotas if q.source is source), key=_bytes, default=None)
        if own is not None:
            return own
    if dyno_ram_mb is not None:
        return Quota(bytes=dyno_ram_mb * MIB, source=QuotaSource.DYNO_RAM)
    return Quota(bytes=host_bytes, source=QuotaSource.HOST)


def _bytes(quota: Quota) -> int:
    return quota.bytes


def _group_quotas(root: Path) -> Iterator[Quota]:
    """Limits of our own group and of all its ancestors, the outermost first."""
    paths = dict(_memberships(root))
    for mount in _mounts(root):
        if mount.source not in paths:
            continue
        below = _path_below(mount.root, paths[mount.source])
        for directory in _directories(mount.point, below or PurePosixPath()):
            limit = _read_limit(directory / LIMIT_FILES[mount.source])
            if limit is not None:
                group = None if below is None else directory
                yield Quota(bytes=limit, source=mount.source, group=group)


def _memberships(root: Path) -> Iterator[tuple[QuotaSource, str]]:
    """Our path in each hierarchy that can account memory."""
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0":
            yield QuotaSource.CGROUP2, path
        elif "memory" in controllers.split(","):
            yield QuotaSource.CGROUP1, path


def _mounts(root: Path) -> Iterator[_Mount]:
    """Every mounted hierarchy that can account memory."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        source = _source(kind, options)
        if source is not None:
            tree, point = (_unescaped(field) for field in before.split(" ")[3:5])
            yield _Mount(source=source, root=tree, point=root / point.lstrip("/"))


def _source(kind: str, options: str) -> QuotaSource | None:
    if kind == "cgroup2":
        return QuotaSource.CGROUP2
    if kind == "cgroup" and "memory" in options.split(","):
        return QuotaSource.CGROUP1
    return None


def _unescaped(field: str) -> str:
    r"""Undo mountinfo's octal escapes: a space is written `\040`."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _path_below(tree: str, path: str) -> PurePosixPath | None:
    """Where `path` lies below the mounted group `tree`; None = outside.

    Outside happens when the namespace was entered after the mount, and in half-shared containers.
    The mount point then stands for our group: a quota that is too small does less harm than one
    that is too large.
    """
    try:
        below = PurePosixPath(path).relative_to(tree)
    except ValueError:
        return None
    return None if ".." in below.parts else below


def _directories(point: Path, below: PurePosixPath) -> list[Path]:
    """List the mount point and every step down to our own group."""
    steps = [point]
    for part in below.parts:
        steps.append(steps[-1] / part)
    return steps


def _read_limit(path: Path) -> int | None:
    """Bytes of a limit file; None = no limit ("max"), or none that can be read."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _lines(path: Path) -> list[str]:
    """Lines of a file of the kernel; none where there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
