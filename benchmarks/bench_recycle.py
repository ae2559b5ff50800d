# SPDX-License-Identifier: MIT
"""Workers that are replaced after so many calls (`max_tasks_per_child`): what that does to throughput and round trips.

Users ask for it where tasks leak memory, and find that everything else has become slow. So each is measured with
workers that live for 1, 10, 100 and 1,000 calls. Floor: `staying`, ours in the same turn with workers that stay: how
high the cliff is.

Between calls back to back there is no time to make a successor; with a pause before each call there is, and whoever has
one ready before it is needed answers as if nothing were replaced.

ppe-forkserver takes part with workers that live for one call only (with "fork" it replaces none): beyond that Python's
can stop for good (cpython#115634). loky replaces none after so many calls, mpire does in maps only, and pebble takes a
tenth of a second for each.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.pool
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

from benchmarks import command
from benchmarks.measure import rate
from benchmarks.terms import Bench, Terms, Work, aside
from benchmarks.trips import percentile, round_trips
from benchmarks.workloads import nothing

PEERS = ("ppe-forkserver", "pool")
STAYING = "staying"
THROUGHPUT, BACK_TO_BACK = "submit + gather", "round trip, p95"  # panels, and `_paused`
WAY = "by the calls that a worker lives for"
LIVES = (1, 10, 100, 1000)  # calls of one worker
PAUSED_LIVES = (1, 10)
LIVES_A_PASS = 20  # workers that are used up in one pass of submissions, unless that is too many calls


class Pool(NamedTuple):
    submit: Callable[..., Any]
    wait: Callable[[Any], Any]


def works(terms: Terms) -> Sequence[Work]:
    return [
        *(_work(THROUGHPUT, life) for life in LIVES),
        *(_work(BACK_TO_BACK, life) for life in LIVES),
        *(_work(_paused(terms), life) for life in PAUSED_LIVES),
    ]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    values: dict[str, float] = {}
    for life in (1,) if subject == "ppe-forkserver" else LIVES:
        values |= {_work(panel, life).name: value for panel, value in _values(subject, life, terms).items()}
    if subject == "localq":
        staying = _values(subject, None, terms)
        values |= {aside(work.name, STAYING): staying[work.panel] for work in works(terms)}
    return values


def _values(subject: str, life: int | None, terms: Terms) -> dict[str, float]:
    """By panel."""
    values: dict[str, float] = {}
    calls = min(LIVES_A_PASS * (life or terms.calls), terms.calls)
    with started(subject, terms.workers, life) as pool:

        def trip() -> None:
            pool.wait(pool.submit(nothing))

        def submit_and_gather() -> None:
            for handle in [pool.submit(nothing) for _ in range(calls)]:
                pool.wait(handle)

        for _ in range(2 * terms.workers):
            trip()
        values[THROUGHPUT] = rate(calls, submit_and_gather, terms.seconds)
        values[BACK_TO_BACK] = percentile(round_trips(trip, terms.seconds), 95)
        if life is None or life in PAUSED_LIVES:
            values[_paused(terms)] = percentile(round_trips(trip, terms.recycle_seconds, terms.recycle_pause), 95)
    return values


@contextmanager
def started(subject: str, workers: int, life: int | None) -> Iterator[Pool]:
    """A pool whose workers are replaced after so many calls."""
    if subject == "localq":
        from localq import LocalQueue

        with LocalQueue(workers=workers, max_tasks_per_child=life) as queue:
            yield Pool(queue.delay, lambda future: future.result())
    elif subject == "ppe-forkserver":
        context = multiprocessing.get_context("forkserver")
        with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=life) as executor:
            yield Pool(executor.submit, Future.result)
    elif subject == "pool":
        with multiprocessing.get_context("fork").Pool(workers, maxtasksperchild=life) as pool:
            yield Pool(pool.apply_async, multiprocessing.pool.ApplyResult.get)
            pool.close()
            pool.join()
    else:
        raise ValueError(f"{subject} replaces no worker after so many calls")


def _paused(terms: Terms) -> str:
    return f"round trip after {terms.recycle_pause * 1000:g} ms, p95"


def _work(panel: str, life: int) -> Work:
    is_rate = panel == THROUGHPUT
    name = f"{panel}, {WAY}, {life}"
    unit = "calls/s" if is_rate else "us"
    goals = {"pool": 1.0}
    return Work(name, unit, more_is_better=is_rate, goals=goals, panel=panel, way=WAY, size=life, axis="calls")


BENCH = Bench(
    name="recycle",
    title="Workers are replaced after so many calls, each CPU a worker",
    works=works,
    turn=turn,
    takes_part=PEERS.__contains__,
    floors=(STAYING,),
    measures_floors=True,
    is_long=True,
    share=60.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
