# SPDX-License-Identifier: MIT
"""Limits of CPUs and memory, read from made-up machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localq.machine import usable_cpus, usable_memory

GIB = 1 << 30
V1_NO_LIMIT = 9223372036854771712


def machine(root: Path, files: dict[str, str]) -> str:
    for name, text in {"proc/meminfo": f"MemFree: 1 kB\nMemTotal:  {8 * GIB // 1024} kB\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


@pytest.fixture
def many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))


@pytest.mark.usefixtures("many_cpus")
@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/\n"}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "300000 100000\n"}, 3),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "500000 100000\n",
            },
            3,
        ),
        ({"proc/self/cgroup": "0::/../..\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        ({"proc/self/cgroup": "0::/gone/here\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense\n"}, 64),
        ({"proc/self/cgroup": "a line of another kind\n"}, 64),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/x\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpuacct,cpu:/x\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            64,
        ),
        (
            {
                "proc/self/cgroup": "4:cpuset:/\n",
                "sys/fs/cgroup/cpuset/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpuset/cpu.cfs_period_us": "100000\n",
            },
            64,
        ),
    ],
)
def test_cpus_are_what_affinity_and_quotas_leave(tmp_path: Path, files: dict[str, str], cpus: int) -> None:
    assert usable_cpus(machine(tmp_path, files)) == cpus


def test_affinity_counts_below_a_larger_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5})
    root = machine(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "800000 100000\n"})

    assert usable_cpus(root) == 1


@pytest.mark.parametrize(
    ("files", "memory"),
    [
        ({}, 8 * GIB),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 8 * GIB),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"}, GIB),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{99 * GIB}\n"}, 8 * GIB),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": f"{GIB}\n"}, GIB),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/unified/a/memory.max": f"{GIB}\n"}, GIB),
        (
            {"proc/self/cgroup": "4:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": f"{2 * GIB}\n"},
            2 * GIB,
        ),
        (
            {"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{V1_NO_LIMIT}\n"},
            8 * GIB,
        ),
    ],
)
def test_memory_is_what_the_machine_and_cgroups_leave(tmp_path: Path, files: dict[str, str], memory: int) -> None:
    assert usable_memory(machine(tmp_path, files)) == memory


def test_a_machine_without_meminfo_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="meminfo"):
        usable_memory(str(tmp_path))


def test_this_machine_has_something() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
    assert usable_memory() > 1 << 20
