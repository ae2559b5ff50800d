# SPDX-License-Identifier: MIT
"""Round trips one after another, and their percentiles. Used by the benches that measure waits beside other work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from time import perf_counter, perf_counter_ns

LEAST_TRIPS = 10


def round_trips(call: Callable[[], object], seconds: float, pause: float = 0.0) -> list[float]:
    """Microseconds of each `call` within `seconds`, the pauses before them counted, and of LEAST_TRIPS at least."""
    trips: list[float] = []
    until = perf_counter() + seconds
    while perf_counter() < until or len(trips) < LEAST_TRIPS:
        if pause:
            time.sleep(pause)
        asked_ns = perf_counter_ns()
        call()
        trips.append((perf_counter_ns() - asked_ns) / 1000)
    return trips


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent of all are below; of few values the next larger one."""
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]
