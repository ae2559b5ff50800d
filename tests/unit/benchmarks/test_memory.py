# SPDX-License-Identifier: MIT
"""The benchmark of memory: a turn measures all of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.bench_memory import BENCH, PRIVATE, WORKER
from benchmarks.measure import take_turn
from benchmarks.terms import Terms

TERMS = replace(Terms.quick(), pending=5_000)


@pytest.mark.slow
def test_a_turn_measures_every_work():
    values = take_turn("memory", "pool", TERMS)

    assert set(values) == {work.name for work in BENCH.works(TERMS)}
    assert values[PRIVATE] > 100  # a pool has at least an object for each
    assert values[WORKER] > 100  # of kB: a forked interpreter writes to more pages than that
