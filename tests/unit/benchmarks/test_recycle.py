# SPDX-License-Identifier: MIT
"""The benchmark of workers that are replaced: they are, after as many calls as it says."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pytest

from benchmarks.bench_recycle import BENCH, STAYING, started
from benchmarks.measure import take_turn
from benchmarks.terms import Terms, aside

TERMS = replace(Terms.quick(), workers=1, seconds=0.01, calls=4, recycle_pause=0.001, recycle_seconds=0.0)


@pytest.mark.parametrize(("subject", "life"), [("localq", 3), ("pool", 3)])
def test_a_worker_lives_for_as_many_calls_as_it_says(subject, life):
    with started(subject, 1, life) as pool:
        pids = [pool.wait(pool.submit(os.getpid)) for _ in range(2 * life)]

    assert sorted(Counter(pids).values()) == [life, life]


def test_a_worker_that_stays_makes_all_calls():
    with started("localq", 1, None) as pool:
        pids = {pool.wait(pool.submit(os.getpid)) for _ in range(20)}

    assert len(pids) == 1


@pytest.mark.slow
def test_a_turn_measures_every_work():
    values = take_turn("recycle", "localq", TERMS)

    names = [work.name for work in BENCH.works(TERMS)]
    assert set(values) == {*names, *(aside(name, STAYING) for name in names)}
