# SPDX-License-Identifier: MIT
"""How the cost of a no-op call grows: with tasks that wait, workers, queues, cached results, clients.

Ours alone, each size beside the smallest of its curve: both are there in the same turn and are measured alternately, so
a flat curve is a row of ones. A queue has a million slots for tasks and cached results together, so what is large here
is a little less. Calls are submitted one by one and gathered afterwards, unless a way says otherwise; there is one
worker, unless they are what grows, or several clients need all CPUs.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks import command
from benchmarks.client import Client
from benchmarks.terms import Bench, Terms, Work, aside
from benchmarks.workloads import hold, nothing

if TYPE_CHECKING:
    from localq import LocalQueue

SMALLEST = "its smallest"
PASSES = 3  # of each size, alternating with as many of the smallest...
MOST_PASSES = 15  # ...or, where they are shorter than `Terms.scale_seconds`, as many as take no longer
LONG_PASS_SECONDS = 1.0  # what takes longer than that is measured once
START_SECONDS = 30.0

#: By way: microseconds a task, of one pass.
Measured = dict[str, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """What grows.

    Attributes:
        panel: its name.
        axis: what its sizes count.
        ways: what is measured at each size, with the smallest size at which it can be.
        sizes: under these terms.
        open: a queue of that size, ready; the function measures one pass.
    """

    panel: str
    axis: str
    ways: Sequence[str]
    sizes: Callable[[Terms], Sequence[int]]
    open: Callable[[Terms, int], AbstractContextManager[Callable[[], Measured]]]


def works(terms: Terms) -> Sequence[Work]:
    return [_work(curve, way, size) for curve in CURVES for way in curve.ways for size in curve.sizes(terms)]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    if subject != "localq":
        raise ValueError(f"{subject} is not what grows here")
    return {name: value for curve in CURVES for name, value in _values(curve, terms).items()}


def _values(curve: Curve, terms: Terms) -> dict[str, float]:
    values: dict[str, float] = {}
    sizes = curve.sizes(terms)
    with curve.open(terms, sizes[0]) as measure_smallest:
        for size in sizes:
            with ExitStack() as stack:
                again = size == sizes[0]  # beside itself: what that differs from 1 is the noise of this turn
                measure_here = measure_smallest if again else stack.enter_context(curve.open(terms, size))
                smallest, here = _alternate(measure_smallest, measure_here, terms.scale_seconds)
            for way in curve.ways:
                name = _work(curve, way, size).name
                values[name] = statistics.median(measured[way] for measured in here)
                values[aside(name, SMALLEST)] = statistics.median(measured[way] for measured in smallest)
    return values


def _alternate(
    first: Callable[[], Measured], second: Callable[[], Measured], seconds: float
) -> tuple[list[Measured], list[Measured]]:
    of_first, of_second = [first()], [second()]  # once to get warm
    begin = now = perf_counter()
    while len(of_first) <= PASSES or (len(of_first) <= MOST_PASSES and now - begin < 2 * PASSES * seconds):
        of_first.append(first())
        of_second.append(second())
        now = perf_counter()
        if now - begin > LONG_PASS_SECONDS:
            break
    return of_first[1:], of_second[1:]


def _work(curve: Curve, way: str, size: int) -> Work:
    return Work(
        f"{curve.panel}, {way}, {size:,} {curve.axis}",
        "us",
        more_is_better=False,
        panel=curve.panel,
        way=way,
        size=size,
        axis=curve.axis,
    )


# Each of these opens a queue of some size, and gives the function that measures one pass.


@contextmanager
def _pending(terms: Terms, size: int) -> Iterator[Callable[[], Measured]]:
    """While the worker is held and so many tasks wait, more are submitted; then all of them run and are gathered."""
    more = terms.scale_calls
    with (
        _started(workers=1, capacity=size + more + 1, result_cache_size=0) as queue,
        tempfile.TemporaryDirectory(prefix="localq-bench-") as folder,
    ):
        fifo = Path(folder, "release")
        os.mkfifo(fifo)

        def measure() -> Measured:
            submit = queue.delay
            held = submit(hold, str(fifo))
            with open(fifo, "wb"):  # returns when the worker has opened its end: from here on it takes nothing else
                futures = [submit(nothing) for _ in range(size)]
                begin = perf_counter()
                futures += [submit(nothing) for _ in range(more)]
                submitted = perf_counter() - begin
                begin = perf_counter()  # here: closing the fifo lets the worker go
            held.result()
            for future in futures:
                future.result()
            gathered = perf_counter() - begin
            return {"submit": submitted / more * 1e6, "gather": gathered / len(futures) * 1e6}

        yield measure


@contextmanager
def _workers(terms: Terms, size: int) -> Iterator[Callable[[], Measured]]:
    with _started(workers=size) as queue:
        yield lambda: {"submit + gather": _microseconds(terms, queue.delay)}


@contextmanager
def _queues(terms: Terms, size: int) -> Iterator[Callable[[], Measured]]:
    names = [f"queue-{number}" for number in range(size)]
    with _started(workers=1, queues=names) as queue:
        submits = [queue.options(queue=name).delay for name in names]

        def measure() -> Measured:
            return {"all used": _microseconds(terms, *submits), "one used": _microseconds(terms, submits[-1])}

        yield measure


@contextmanager
def _cached(terms: Terms, size: int) -> Iterator[Callable[[], Measured]]:
    """All that may be kept is kept, and each further task pushes one out."""
    with _started(workers=1, capacity=2 * terms.scale_calls, result_cache_size=size) as queue:
        _fill(queue, size, terms)
        yield lambda: {"submit + gather": _microseconds(terms, queue.delay)}


@contextmanager
def _by_id(terms: Terms, size: int) -> Iterator[Callable[[], Measured]]:
    """Results are read by their ids, in no order."""
    chance = random.Random(size)
    with _started(workers=1, capacity=2 * terms.scale_calls, result_cache_size=size) as queue:
        ids = _fill(queue, size, terms)

        def measure() -> Measured:
            chosen = chance.choices(ids, k=terms.scale_calls)
            begin = perf_counter()
            for task_id in chosen:
                queue.get_task_result(task_id)
            return {"get_task_result": (perf_counter() - begin) / len(chosen) * 1e6}

        yield measure


@contextmanager
def _clients(terms: Terms, size: int) -> Iterator[Callable[[], Measured]]:
    """All of them at once; what is told is the time for a task of all together."""
    with _started(workers=terms.workers) as queue, ExitStack() as stack:
        clients = [Client(queue.name, terms.scale_calls // 8) for _ in range(size)]
        for client in clients:
            stack.callback(client.close)
        for client in clients:
            client.wait_until_ready()

        def measure() -> Measured:
            for client in clients:
                client.begin(terms.scale_seconds)
            per_second = sum(calls / seconds for calls, seconds in [client.end() for client in clients])
            return {"submit + gather": 1e6 / per_second}

        yield measure


CURVES = (
    Curve("waiting tasks", "tasks", ("submit", "gather"), lambda terms: terms.scale_pending, _pending),
    Curve("workers", "workers", ("submit + gather",), lambda terms: terms.scale_workers, _workers),
    Curve("queues", "queues", ("all used", "one used"), lambda terms: terms.scale_queues, _queues),
    Curve("kept results", "results", ("submit + gather",), lambda terms: terms.scale_cached, _cached),
    Curve("kept results", "results", ("get_task_result",), lambda terms: [n for n in terms.scale_cached if n], _by_id),
    Curve("clients", "clients", ("submit + gather",), lambda terms: terms.scale_clients, _clients),
)


@contextmanager
def _started(workers: int, **arguments: Any) -> Iterator[LocalQueue]:
    """A queue whose workers are all up."""
    from localq import LocalQueue

    with LocalQueue(workers=workers, **arguments) as queue:
        until = time.monotonic() + START_SECONDS
        while sum(worker.state in ("idle", "running") for worker in queue.snapshot().workers) < workers:
            if time.monotonic() > until:
                raise TimeoutError(f"{workers} workers were not up within {START_SECONDS:g} s")
            time.sleep(0.005)
        queue.delay(nothing).result()
        yield queue


def _microseconds(terms: Terms, *submits: Callable[..., Any]) -> float:
    """Of one task, when calls are submitted to each in turn and gathered afterwards."""
    rounds = max(1, terms.scale_calls // len(submits))
    done = 0
    begin = now = perf_counter()
    while now - begin < terms.scale_seconds:
        futures = [submit(nothing) for _ in range(rounds) for submit in submits]
        for future in futures:
            future.result()
        done += len(futures)
        now = perf_counter()
    return (now - begin) / done * 1e6


def _fill(queue: LocalQueue, size: int, terms: Terms) -> list[str]:
    """Make as many results as may be kept; their ids."""
    ids: list[str] = []
    while len(ids) < size:
        futures = [queue.delay(nothing) for _ in range(min(terms.scale_calls, size - len(ids)))]
        for future in futures:
            future.result()
        ids += [future.task_id for future in futures]
    return ids


BENCH = Bench(
    name="scale",
    title="How the cost of a no-op call grows; ours alone, beside the smallest of each curve",
    works=works,
    turn=turn,
    takes_part=lambda name: False,
    floors=(SMALLEST,),
    measures_floors=True,
    is_long=True,
    share=100.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
