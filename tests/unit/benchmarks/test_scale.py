# SPDX-License-Identifier: MIT
"""The bench of how cost grows: every size stands beside the smallest of its curve, measured in the same turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

import pytest

from benchmarks import bench_scale, measure
from benchmarks.bench_scale import BENCH, CURVES, SMALLEST, _fill, _pending, _started
from benchmarks.terms import Terms
from localq import LocalQueue, TaskStatus
from localq.config import MAX_SLOTS

TERMS = replace(
    Terms.quick(),
    long_rounds=1,
    workers=2,
    scale_calls=20,
    scale_seconds=0.001,
    scale_pending=(1, 50),
    scale_workers=(1, 2),
    scale_queues=(1, 3),
    scale_cached=(0, 30),
    scale_clients=(1, 2),
)


@pytest.mark.slow
def test_every_size_of_every_curve_stands_beside_its_smallest_of_the_same_turn():
    comparisons, failures = measure.compare(BENCH, "localq", [SMALLEST], TERMS)

    assert failures == []  # a turn of the smallest alone would fail: there is none
    assert [comparison.work for comparison in comparisons] == list(BENCH.works(TERMS))
    assert {comparison.work.panel for comparison in comparisons} == {curve.panel for curve in CURVES}
    values = [value for each in comparisons for value in (*each.our_values, *each.peer_values)]
    assert all(0 < value < 1e6 for value in values), values


def test_no_result_is_read_by_an_id_before_there_is_one():
    sizes = {work.size for work in BENCH.works(Terms()) if work.way == "get_task_result"}

    assert 0 not in sizes
    assert sizes < set(Terms().scale_cached)


def test_the_largest_sizes_fit_into_a_queue():
    terms = Terms()

    assert terms.scale_pending[-1] + terms.scale_calls + 1 <= MAX_SLOTS
    assert terms.scale_cached[-1] + 2 * terms.scale_calls <= MAX_SLOTS


def test_so_many_tasks_wait_while_more_are_submitted(monkeypatch):
    queues: list[LocalQueue] = []
    queued: list[int] = []

    @contextmanager
    def remembered(**arguments: Any) -> Iterator[LocalQueue]:
        with _started(**arguments) as queue:
            queues.append(queue)
            yield queue

    def clock() -> float:
        queued.append(queues[0].snapshot().queued)
        return perf_counter()

    monkeypatch.setattr(bench_scale, "_started", remembered)
    with _pending(TERMS, 50) as measure_pass:
        monkeypatch.setattr(bench_scale, "perf_counter", clock)
        measure_pass()

    assert queued == [50, 70, 70, 0]  # before and after the submissions, before and after all are gathered


def test_as_many_results_as_may_be_kept_can_be_read_by_their_ids():
    with _started(workers=1, capacity=40, result_cache_size=30) as queue:
        ids = _fill(queue, 30, TERMS)

        assert len(set(ids)) == 30
        assert {queue.get_status(task_id) for task_id in ids} == {TaskStatus.SUCCESS}
