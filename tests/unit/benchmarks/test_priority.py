# SPDX-License-Identifier: MIT
"""The benchmark of urgent calls: they are measured while others wait, and only then."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.bench_priority import BENCH, EMPTY, _urgent_trips
from benchmarks.measure import take_turn
from benchmarks.terms import Terms, aside
from benchmarks.urgent import Pool, started

TERMS = replace(Terms.quick(), workers=2, seconds=0.0, behind_few=2_000, behind_many=30_000)


def at_once(fn: Any, *args: object) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(fn(*args))
    return future


def test_urgent_calls_of_ours_end_before_those_that_wait():
    with started("localq", workers=1) as pool:
        trips, others = _urgent_trips(pool, 2_000, calls=3)

        assert len(trips) == 3
        assert not others[-1].done()


def test_without_priorities_one_call_stands_behind_the_others():
    trips, others = _urgent_trips(Pool(at_once, Future.result, urgent=None), 10, calls=3)

    assert len(trips) == 1
    assert len(others) == 10


def test_a_queue_that_has_run_empty_meanwhile_is_no_measurement():
    with pytest.raises(RuntimeError, match="the others, 10, were done before the last of the urgent calls"):
        _urgent_trips(Pool(at_once, Future.result, urgent=at_once), 10, calls=1)


@pytest.mark.slow
def test_a_turn_measures_every_work():
    values = take_turn("priority", "localq", TERMS)

    names = [work.name for work in BENCH.works(TERMS)]
    assert set(values) == {*names, *(aside(name, EMPTY) for name in names)}
