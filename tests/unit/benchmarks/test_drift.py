# SPDX-License-Identifier: MIT
"""The benchmark of what many calls change: they are made, and memory that grows is seen."""

from __future__ import annotations

import mmap
from dataclasses import replace

from benchmarks import bench_drift, resident
from benchmarks.bench_drift import BENCH
from benchmarks.terms import Terms
from localq import LocalQueue

MEGABYTE = 1 << 20
TERMS = replace(Terms.quick(), workers=1, seconds=0.01, calls=300, drift_early=1_000, drift_late=10_000)


def test_as_many_calls_are_made_as_it_says():
    with LocalQueue(workers=1) as queue:
        done = bench_drift._run(queue, 10_000, TERMS)
        tallies = queue.snapshot()

    assert 10_000 <= done < 10_000 + 10 * TERMS.calls
    assert tallies.totals.done >= done // 10


def test_memory_that_this_process_takes_is_seen():
    before = resident.of_this_process().private
    # Of the system, and not by way of malloc: it may have as much that was given back to it, and still counts.
    with mmap.mmap(-1, 40 * MEGABYTE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(b"x" * (40 * MEGABYTE))

        assert resident.of_this_process().private - before >= 30 * MEGABYTE


def test_shared_memory_that_is_touched_is_seen():
    before = resident.shared_of_all()
    with mmap.mmap(-1, 40 * MEGABYTE) as memory:
        memory.write(b"x" * (40 * MEGABYTE))

        assert resident.shared_of_all() - before >= 30 * MEGABYTE


def test_a_reading_is_of_every_work_and_its_calls_are_counted():
    with LocalQueue(workers=1) as queue:
        readings, calls = bench_drift._readings(queue, TERMS)

    assert {bench_drift._name(what, TERMS) for what in readings} == {work.name for work in BENCH.works(TERMS)}
    assert all(value > 0 for value in readings.values())
    assert calls >= 10 * TERMS.calls
