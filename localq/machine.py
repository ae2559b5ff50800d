# SPDX-License-Identifier: MIT
"""What this process may really use of the machine: CPUs and memory.

Used by `localq.config` for the defaults. Reads /proc and /sys below `root`, so that a made-up tree can stand
in for the machine. Whatever cannot be read limits nothing.
"""

from __future__ import annotations

import os
from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["oom_kills", "usable_cpus", "usable_memory"]


def usable_cpus(root: str = "/") -> int:
    """How many CPUs this process can keep busy: at most its affinity mask and its cgroups' quotas, at least 1.

    A quota of one and a half CPUs counts as two: the scheduler shares the half out in time.
    """
    return min([len(os.sched_getaffinity(0)), *_cpu_quotas(root)])


def usable_memory(root: str = "/") -> int:
    """How many bytes of RAM this process may use: what the machine has, or what a cgroup or `ulimit -v` leaves it.

    Raises:
        OSError: /proc/meminfo can't be read, or does not say how much there is.
    """
    return min([_machine_memory(root), *_memory_limits(root), *_address_space()])


def oom_kills(root: str = "/") -> int | None:
    """How many processes of our cgroup the kernel has killed for want of memory; None when it does not say."""
    for folder in _cgroup_folders(root, "memory"):
        for name in ("memory.events", "memory.oom_control"):
            for line in _read(os.path.join(folder, name)).splitlines():
                if line.startswith("oom_kill ") and line[9:].isdigit():
                    return int(line[9:])
    return None


def _address_space() -> Iterator[int]:
    """Half of what this process may map, if that is limited: the arena is mapped whole, and is not all that is."""
    limit = getrlimit(RLIMIT_AS)[0]
    if limit != RLIM_INFINITY:
        yield limit // 2


def _cpu_quotas(root: str) -> Iterator[int]:
    """CPUs allowed by each cgroup above us that sets a quota, rounded up."""
    for folder in _cgroup_folders(root, "cpu"):
        quota, period = _v2_quota(folder) or _v1_quota(folder) or (0, 1)
        if quota > 0 and period > 0:
            yield -(-quota // period)


def _v2_quota(folder: str) -> tuple[int, int] | None:
    """The two numbers of cpu.max, in microseconds; None where there is none ("max 100000")."""
    words = _read(os.path.join(folder, "cpu.max")).split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
        return int(words[0]), int(words[1])
    return None


def _v1_quota(folder: str) -> tuple[int, int] | None:
    """cpu.cfs_quota_us and cpu.cfs_period_us; None where there is none (a quota of -1)."""
    quota = _read(os.path.join(folder, "cpu.cfs_quota_us")).strip()
    period = _read(os.path.join(folder, "cpu.cfs_period_us")).strip()
    return (int(quota), int(period)) if quota.isdigit() and period.isdigit() else None


def _memory_limits(root: str) -> Iterator[int]:
    """Bytes allowed by each cgroup above us. v1 says "no limit" by a number close to 2**63."""
    for folder in _cgroup_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _read(os.path.join(folder, name)).strip()
            if limit.isdigit() and int(limit) > 0:
                yield int(limit)


def _machine_memory(root: str) -> int:
    with open(os.path.join(root, "proc/meminfo"), encoding="ascii", errors="replace") as file:
        lines = file.readlines()
    for line in lines:
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{os.path.join(root, 'proc/meminfo')} does not say how much memory there is")


def _cgroup_folders(root: str, controller: str) -> Iterator[str]:
    """Each folder that may hold a limit of `controller` for us, from our own cgroup up to the mount.

    A line of /proc/self/cgroup is "number:controllers:path", with no controllers for v2. The path may not
    exist here, where a container sees only its own part of the tree: then its upper folders still count.
    """
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not path:  # of a form that no kernel writes today
            continue
        if not controllers:
            mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            mounts = [f"sys/fs/cgroup/{controllers}"]
            if controllers != controller:  # mounted together, or under one name each
                mounts.append(f"sys/fs/cgroup/{controller}")
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts), -1, -1):
                yield os.path.join(root, mount, *parts[:depth])


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:  # absent, or hidden from us: it limits nothing
        return ""
