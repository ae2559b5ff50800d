# SPDX-License-Identifier: MIT
"""Short calls while long ones pass: round trips of no-op calls beside tasks of 10 and 100 ms of CPU time and arrays of
1 MB that go to a worker and come back.

*One long at a time*: there is a worker for the short ones at any moment, unless the library binds them to another.
*Four long at a time*: all workers are busy, and a short one waits for its turn; where there are priorities it has one,
and is the next. For each long one at a time a thread submits, waits for the result, and submits the next kind.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from benchmarks import command
from benchmarks.terms import Bench, Terms, Work
from benchmarks.trips import percentile, round_trips
from benchmarks.urgent import Pool, started
from benchmarks.workloads import burn_10_ms, burn_100_ms, nothing, same

PEERS = ("ppe-fork", "pool", "ray")
ITEMS = 125_000  # of 8 bytes: 1 MB
PAUSE = 0.002  # before each short call: back to back they would be a load of their own
ONE, FOUR = "one long at a time", "four long at a time"
LONG = {ONE: 1, FOUR: 4}


def works(terms: Terms) -> Sequence[Work]:
    return [
        *(Work(_name(manner, percent), "us", more_is_better=False) for manner in LONG for percent in (50, 99)),
        *(Work(_passed(manner), "tasks/s", more_is_better=True) for manner in LONG),
    ]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    import numpy as np  # so that it is there in workers that are forked

    array = np.arange(ITEMS, dtype=np.float64)
    values: dict[str, float] = {}
    with started(subject, terms.workers) as pool:
        for manner, count in LONG.items():
            submit = pool.urgent if manner == FOUR and pool.urgent is not None else pool.submit

            def short(submit: Callable[..., Any] = submit) -> None:
                pool.wait(submit(nothing))

            with passing(pool, array, count) as passed:
                round_trips(short, 0.0)
                before = passed()
                trips = round_trips(short, terms.mixed_seconds, PAUSE)
                rate = (passed() - before) / max(terms.mixed_seconds, sum(trips) / 1e6)
            values |= {_name(manner, percent): percentile(trips, percent) for percent in (50, 99)}
            values[_passed(manner)] = rate
    return values


@contextmanager
def passing(pool: Pool, array: Any, count: int) -> Iterator[Callable[[], int]]:
    """So many long tasks at any time; how many have passed. All kinds have passed once before it begins."""
    is_over = threading.Event()
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: pool.wait(pool.submit(burn_10_ms, 0)),
        lambda: _check(array, pool.wait(pool.submit(same, array))),
        lambda: pool.wait(pool.submit(burn_100_ms, 0)),
    )
    for kind in kinds:
        kind()
    done = itertools.count()
    passed = 0

    def pass_on(first: int) -> None:
        nonlocal passed
        for kind in itertools.islice(itertools.cycle(kinds), first, None):
            if is_over.is_set():
                return
            kind()
            passed = next(done) + 1

    with ThreadPoolExecutor(count) as threads:
        try:
            ends: list[Future[None]] = [threads.submit(pass_on, first) for first in range(count)]
            yield lambda: passed
        finally:
            is_over.set()
        for end in ends:
            end.result()


def _check(array: Any, answer: Any) -> None:
    if len(answer) != len(array) or answer[-1] != array[-1]:
        raise ValueError(f"an array of {len(array)} numbers has come back as one of {len(answer)}")


def _name(manner: str, percent: int) -> str:
    return f"a short call, {manner}, p{percent}"


def _passed(manner: str) -> str:
    return f"long tasks that passed, {manner}"


BENCH = Bench(
    name="mixed",
    title="Short calls while long ones pass, each CPU a worker",
    works=works,
    turn=turn,
    takes_part=PEERS.__contains__,
    is_long=True,
    share=45.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
