# SPDX-License-Identifier: MIT
"""What a task costs the client while it waits and while its result is kept, and what a worker costs that does nothing.

While tasks wait, the only worker is held by one that waits on a fifo. Private memory is the heap of the client; the
second figure adds the shared memory that it has touched, where ours keeps its tasks and others keep nothing. Then all
are done, and their handles and results, small numbers, are kept. A worker costs the pages that it has alone, after one
call: the difference between a pool of many workers and one of one, by their number.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import command
from benchmarks.measure import started
from benchmarks.resident import of_this_process, private_of_descendants, settled
from benchmarks.terms import Bench, Terms, Work
from benchmarks.workloads import hold, nothing, same, which_worker

PEERS = ("ppe-fork", "pool", "loky")
PRIVATE = "client, private memory a pending task"
WITH_SHARED = "client, private + shared memory a pending task"
KEPT = "client, private memory a finished task whose handle and result are kept"
KEPT_WITH_SHARED = "client, private + shared memory a finished task whose handle and result are kept"
WORKER = "private memory an idle worker"
IDLE_WORKERS = 5
AWAKE_SECONDS = 30.0


def works(terms: Terms) -> Sequence[Work]:
    # A ProcessPoolExecutor takes 2.1 kB; we allow ourselves half a kilobyte.
    return [
        Work(PRIVATE, "bytes", more_is_better=False, goals={"ppe-fork": 0.24}),
        Work(WITH_SHARED, "bytes", more_is_better=False),
        Work(KEPT, "bytes", more_is_better=False),
        Work(KEPT_WITH_SHARED, "bytes", more_is_better=False),
        Work(WORKER, "kB", more_is_better=False),
    ]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    return {**_tasks(subject, terms), WORKER: _worker_kilobytes(subject)}


def _tasks(subject: str, terms: Terms) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="localq-bench-") as directory, started(subject, workers=1) as peer:
        fifo = Path(directory, "release")
        os.mkfifo(fifo)
        for _ in range(100):
            peer.wait(peer.submit(nothing))
        held = peer.submit(hold, str(fifo))
        with open(fifo, "wb"):  # returns when the worker has opened its end: from here on it takes nothing else
            handles: list[Any] = [None] * terms.pending
            results: list[Any] = [None] * terms.pending
            gc.collect()
            before = of_this_process()
            for index in range(terms.pending):
                handles[index] = peer.submit(same, index)
            waiting = settled()
        for index, handle in enumerate(handles):
            results[index] = peer.wait(handle)
        peer.wait(held)
        del handle, held
        gc.collect()
        kept = settled()
    return {
        PRIVATE: (waiting.private - before.private) / terms.pending,
        WITH_SHARED: (sum(waiting) - sum(before)) / terms.pending,
        KEPT: (kept.private - before.private) / terms.pending,
        KEPT_WITH_SHARED: (sum(kept) - sum(before)) / terms.pending,
    }


def _worker_kilobytes(subject: str) -> float:
    one, many = (_kilobytes_of_workers(subject, workers) for workers in (1, IDLE_WORKERS))
    return (many - one) / (IDLE_WORKERS - 1)


def _kilobytes_of_workers(subject: str, workers: int) -> float:
    with started(subject, workers) as peer:
        awake: set[int] = set()
        until = time.monotonic() + AWAKE_SECONDS
        while len(awake) < workers:
            if time.monotonic() > until:
                raise TimeoutError(f"{len(awake)} of {workers} workers took a task within {AWAKE_SECONDS:g} s")
            awake.update([peer.wait(handle) for handle in [peer.submit(which_worker) for _ in range(2 * workers)]])
        return private_of_descendants() / 1000


BENCH = Bench(
    name="memory",
    title="Memory of tasks in the client, and of workers that do nothing",
    works=works,
    turn=turn,
    takes_part=PEERS.__contains__,
    share=35.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
