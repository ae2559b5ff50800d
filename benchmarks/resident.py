# SPDX-License-Identifier: MIT
"""Readings of resident memory, this process's and its descendants'. Used by bench_memory and bench_drift."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import NamedTuple

import psutil

SETTLE_SECONDS = 0.1  # the threads that feed pipes copy tasks after `submit` returned
SETTLE_READINGS = 20


class Resident(NamedTuple):
    private: int  # bytes: heap and stacks
    shared: int  # bytes of shared memory that were touched


def of_this_process() -> Resident:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    sizes = {name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"(Rss\w+):\s+(\d+) kB", status)}
    return Resident(sizes["RssAnon"], sizes["RssShmem"])


def settled() -> Resident:
    """That of this process once two readings agree; the last reading when they never do."""
    reading = of_this_process()
    for _ in range(SETTLE_READINGS):
        time.sleep(SETTLE_SECONDS)
        earlier, reading = reading, of_this_process()
        if earlier == reading:
            break
    return reading


def private_of_descendants() -> int:
    """Bytes in pages that one of them alone has: what forked processes still share is nobody's."""
    return sum(_sum_of(r"Private_(?:Clean|Dirty)", process) for process in _descendants())


def heap_of_descendants() -> int:
    """Bytes of heap and stacks, what forked processes still share counted once."""
    return sum(_sum_of("Pss_Anon", process) for process in _descendants())


def shared_of_all() -> int:
    """Bytes of shared memory that this process and its descendants have touched, each page counted once."""
    return sum(_sum_of("Pss_Shmem", process) for process in (psutil.Process(), *_descendants()))


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _sum_of(fields: str, process: psutil.Process) -> int:
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
    return sum(int(kilobytes) * 1024 for kilobytes in re.findall(rf"^{fields}:\s+(\d+) kB", rollup, re.MULTILINE))
