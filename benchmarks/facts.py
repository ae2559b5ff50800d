# SPDX-License-Identifier: MIT
"""The machine and the versions that a file of results belongs to."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from benchmarks import peers


def gather() -> dict[str, object]:
    """JSON-able facts. The load average tells whether the machine was doing something else as well."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_average_1_min": round(os.getloadavg()[0], 2),
        "versions": {subject.name: peers.version(subject) for subject in peers.SUBJECTS},
    }


def _cpu_model() -> str:
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        described = ""
    named = re.search(r"^model name\s*:\s*(.+)$", described, flags=re.MULTILINE)
    return named[1].strip() if named else platform.machine()
