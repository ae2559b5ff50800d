# SPDX-License-Identifier: MIT
"""The benchmark of short calls beside long ones: the long ones pass, all kinds of them, as long as it measures."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from benchmarks.bench_mixed import passing
from benchmarks.urgent import Pool
from benchmarks.workloads import burn_10_ms, burn_100_ms, same
from tests.support.waiting import eventually


def test_long_tasks_of_all_kinds_pass_until_it_is_over():
    seen: Counter[Any] = Counter()

    def at_once(fn: Any, argument: Any) -> Future[Any]:
        seen[fn] += 1
        future: Future[Any] = Future()
        future.set_result(argument)
        return future

    with passing(Pool(at_once, Future.result, None), np.arange(3.0), 2) as passed:
        eventually(lambda: passed() >= 9)

    assert set(seen) == {burn_10_ms, same, burn_100_ms}
    assert sum(seen.values()) >= 9


def test_an_array_that_comes_back_as_another_is_an_error():
    def lose(fn: Any, argument: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(argument if fn is not same else argument[:-1])
        return future

    with (
        pytest.raises(ValueError, match="an array of 3 numbers has come back as one of 2"),
        passing(Pool(lose, Future.result, None), np.arange(3.0), 1),
    ):
        pass
