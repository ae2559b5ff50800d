# SPDX-License-Identifier: MIT
"""What one waiting task costs the client: its memory before and after many submissions that no worker takes.

The only worker is held by a task that waits on a fifo. Private memory is the heap of the client; the second figure
adds the shared memory that it has touched, where ours keeps its tasks and others keep nothing.
"""

from __future__ import annotations

import gc
import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import command, peers
from benchmarks.measure import started
from benchmarks.terms import Bench, Terms, Work
from benchmarks.workloads import hold, nothing

PRIVATE = "client, private memory a pending task"
WITH_SHARED = "client, private + shared memory a pending task"
SETTLE_SECONDS = 0.1  # the threads that feed pipes copy tasks after `submit` returned
SETTLE_READINGS = 20


def works(terms: Terms) -> Sequence[Work]:
    # A ProcessPoolExecutor takes 2.1 kB; we allow ourselves half a kilobyte.
    return [
        Work(PRIVATE, "bytes", more_is_better=False, goals={"ppe-fork": 0.24}),
        Work(WITH_SHARED, "bytes", more_is_better=False),
    ]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="localq-bench-") as directory, started(subject, workers=1) as peer:
        fifo = Path(directory, "release")
        os.mkfifo(fifo)
        for _ in range(100):
            peer.wait(peer.submit(nothing))
        held = peer.submit(hold, str(fifo))
        with open(fifo, "wb"):  # returns when the worker has opened its end: from here on it takes nothing else
            handles: list[Any] = [None] * terms.pending
            gc.collect()
            private_before, shared_before = _resident_bytes()
            for index in range(terms.pending):
                handles[index] = peer.submit(nothing)
            private, shared = _settled_bytes()
        for handle in (held, *handles):
            peer.wait(handle)
    grown = private - private_before
    return {
        PRIVATE: grown / terms.pending,
        WITH_SHARED: (grown + shared - shared_before) / terms.pending,
    }


def _settled_bytes() -> tuple[int, int]:
    """Private and shared bytes once two readings agree; the last reading when they never do."""
    reading = _resident_bytes()
    for _ in range(SETTLE_READINGS):
        time.sleep(SETTLE_SECONDS)
        earlier, reading = reading, _resident_bytes()
        if earlier == reading:
            break
    return reading


def _resident_bytes() -> tuple[int, int]:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    sizes = {name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"(Rss\w+):\s+(\d+) kB", status)}
    return sizes["RssAnon"], sizes["RssShmem"]


BENCH = Bench(
    name="memory",
    title="Memory of the client while tasks wait",
    works=works,
    turn=turn,
    takes_part=lambda name: peers.find(name).submits,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
