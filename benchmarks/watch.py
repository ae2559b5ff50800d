# SPDX-License-Identifier: MIT
"""Watch the memory of a process and its descendants: `python -m benchmarks.watch PID`, until stdin ends.

Used by bench_peak. A process of its own, because a client that pickles holds the GIL. Says `ready` after its first
look, and in the end how many bytes more there were at most. Counted are anonymous pages, those that a fork shares
divided among who shares them, and all shared memory of the machine once, mapped or not: what other programs do with
theirs at that time is counted too.
"""

from __future__ import annotations

import contextlib
import re
import select
import sys
from pathlib import Path

import psutil

PERIOD_SECONDS = 0.005


def used_bytes(root: psutil.Process) -> int:
    kilobytes = int(_field("Shmem", Path("/proc/meminfo")))
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(OSError):  # it has ended
            kilobytes += int(_field("Pss_Anon", Path(f"/proc/{process.pid}/smaps_rollup")))
    return kilobytes * 1024


def _field(name: str, path: Path) -> str:
    found = re.search(rf"^{name}:\s+(\d+) kB", path.read_text(encoding="ascii"), flags=re.MULTILINE)
    return found[1] if found else "0"  # a zombie has none


def main() -> None:
    root = psutil.Process(int(sys.argv[1]))
    before = peak = used_bytes(root)
    print("ready", flush=True)
    is_over = False
    while not is_over:
        is_over = bool(select.select([sys.stdin], [], [], PERIOD_SECONDS)[0])
        peak = max(peak, used_bytes(root))  # also when it is over: what is still held then counts
    print(peak - before)


if __name__ == "__main__":
    main()
