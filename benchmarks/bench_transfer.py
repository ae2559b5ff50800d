# SPDX-License-Identifier: MIT
"""Arrays of 1 kB to 100 MB to a task and back, one task at a time and many at once, beside one memcpy of the same size.

Every array is float64, numpy is imported and the pool warm before anything is timed. A library that can store an array
once, or lend memory that workers share, is measured in that way too; beside it the others stand with the way that
they have. Of many tasks at once each has an array of its own, unless it was stored; what is told is the time a task.

Floors: `memcpy-warm` and `memcpy-cold`, into memory just written and into memory never touched, in C; `1ms` is one
millisecond, for what should take no longer than that at any size.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks import command, limits, peers
from benchmarks.measure import started
from benchmarks.terms import Bench, Terms, Work, size_name
from benchmarks.workloads import give, last, prepare, total

PEERS = ("ppe-fork", "pool", "joblib", "ray")  # loky and mpire send arrays as the first of them do
ITEM_BYTES = 8
GOAL_BYTES = 10**8
WARM_UP_TIMES = 3
LEAST_TIMES = 2
LONG_SECONDS = 0.5  # what takes longer than that is warm after once, and long enough to be timed once a turn
PREPARE_SECONDS = 30.0

TOUCHED, READ, RETURNED = "to a task that reads one item", "to a task that reads all", "as a result"
STORED = "to no task"
#: A function over some arguments, a task each, all in flight together.
Run = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]

ONE, MANY = "one task at a time", "many tasks at once"
PLAIN, PUT, EMPTY, OUT = "as it is", "by put", "from empty", "into an array given"
WAYS = ((TOUCHED, PLAIN), (TOUCHED, PUT), (TOUCHED, EMPTY), (READ, PLAIN), (RETURNED, PLAIN), (RETURNED, OUT))


class Transfer(NamedTuple):
    panel: str
    way: str
    act: Callable[[], object]  # what is timed; drops all that it made
    tasks: int  # of one act


def works(terms: Terms) -> Sequence[Work]:
    return [_work(panel, way, size) for panel, way in _tables() for size in terms.transfer_bytes]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    if subject in ("memcpy-warm", "memcpy-cold"):
        key = "warm_p50_seconds" if subject == "memcpy-warm" else "cold_p50_seconds"
        answers = {size: limits.ask(terms.limits_program, "memcpy", str(size)) for size in terms.transfer_bytes}
        return {work.name: answers[work.size][key] * 1000 for work in works(terms)}
    if subject == "1ms":
        return {work.name: 1.0 for work in works(terms) if work.panel.startswith(TOUCHED) and work.way != PLAIN}
    import numpy as np  # so that it is there in workers that are forked

    values: dict[str, float] = {}
    with started(subject, terms.workers) as peer:
        run = runner(peer, subject)
        for size in terms.transfer_bytes:
            count = max(1, size // ITEM_BYTES)
            prepare_workers(run, terms.workers, count)
            for panel, way, act, tasks in _transfers(peer, run, np.arange(count, dtype=np.float64), terms):
                values[_work(panel, way, size).name] = _milliseconds(act, terms.transfer_seconds) / tasks
                del act  # and the arrays that it has, before the next are made
    return values if subject == "localq" else _as_its_user_would(values, terms)


def _tables() -> Iterator[tuple[str, str]]:
    for manner in (ONE, MANY):
        for panel, way in WAYS:
            yield f"{panel}, {manner}", way
    yield STORED, PUT


def _work(panel: str, way: str, size: int) -> Work:
    goals: dict[str, float] = {}
    if panel in (f"{TOUCHED}, {ONE}", f"{RETURNED}, {ONE}") and way == PLAIN and size == GOAL_BYTES:
        goals = {"memcpy-warm": 1.5}
    if panel == f"{TOUCHED}, {ONE}" and way in (PUT, EMPTY):
        goals = {"1ms": 1.0}
    return Work(
        f"{panel}, {way}, {size_name(size)}", "ms", more_is_better=False, goals=goals, panel=panel, way=way, size=size
    )


def _transfers(peer: peers.Peer, run: Run, array: Any, terms: Terms) -> Iterator[Transfer]:
    """All ways that the peer has for arrays like this one."""
    count = len(array)
    put, empty, into = (getattr(peer, name, None) for name in ("put", "empty", "into"))
    for manner, tasks in ((ONE, 1), (MANY, terms.transfer_in_flight)):
        in_flight = min(tasks, terms.transfer_in_flight_bytes // array.nbytes) if manner == MANY else 1
        touched, read, returned = (f"{panel}, {manner}" for panel in (TOUCHED, READ, RETURNED))
        if manner == ONE or in_flight > 1:
            arrays = [array, *(array.copy() for _ in range(in_flight - 1))]
            yield Transfer(touched, PLAIN, partial(_give, run, last, arrays, count - 1), in_flight)
            yield Transfer(read, PLAIN, partial(_give, run, total, arrays, count * (count - 1) / 2), in_flight)
            del arrays
            yield Transfer(returned, PLAIN, partial(_take, run, in_flight, count), in_flight)
            if empty is not None and into is not None:
                targets = [empty(count) for _ in range(in_flight)]
                yield Transfer(returned, OUT, partial(_write, peer, into, targets, count), in_flight)
                del targets
        if put is not None:
            stored = put(array)
            yield Transfer(touched, PUT, partial(_give, run, last, [stored] * tasks, count - 1), tasks)
            del stored
        if empty is not None:
            shared = empty(count)
            shared[:] = array
            yield Transfer(touched, EMPTY, partial(_give, run, last, [shared] * tasks, count - 1), tasks)
            del shared
    if put is not None:
        yield Transfer(STORED, PUT, partial(put, array), 1)


def _give(run: Run, fn: Callable[[Any], float], arguments: Sequence[Any], expected: float) -> None:
    for answer in run(fn, arguments):
        if abs(answer - expected) > abs(expected) * 1e-9:
            raise ValueError(f"{fn.__name__} of an array is {answer} in a worker, not {expected}")


def _take(run: Run, tasks: int, count: int) -> None:
    for array in run(give, [count] * tasks):
        _check(array, count)


def _write(peer: peers.Peer, into: Callable[..., Any], targets: Sequence[Any], count: int) -> None:
    for handle in [into(target, give, count) for target in targets]:
        peer.wait(handle)
    for target in targets:
        _check(target, count)


def _check(array: Any, count: int) -> None:
    if len(array) != count or array[-1] != count - 1:
        raise ValueError(f"a result has {len(array)} numbers up to {array[-1]}, not {count} up to {count - 1}")


def runner(peer: peers.Peer, subject: str) -> Run:
    """What runs a function over some arguments, a task each, all in flight together, and returns the results."""

    def submit_all(fn: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        handles = [peer.submit(fn, argument) for argument in arguments]
        return [peer.wait(handle) for handle in handles]

    def map_all(fn: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        return list(peer.map(fn, arguments, 1))

    return submit_all if peers.find(subject).submits else map_all


def prepare_workers(run: Run, workers: int, count: int) -> None:
    """Every worker has imported numpy, and has an array of `count` numbers to return."""
    prepared: set[int] = set()
    until = time.monotonic() + PREPARE_SECONDS
    while len(prepared) < workers:
        if time.monotonic() > until:
            raise TimeoutError(f"{len(prepared)} of {workers} workers took a task within {PREPARE_SECONDS:g} s")
        prepared.update(run(prepare, [count] * (2 * workers)))


def _milliseconds(act: Callable[[], object], seconds: float) -> float:
    """The median; what `act` returns is dropped within its time."""
    _repeat(act, WARM_UP_TIMES, 0.0)
    return statistics.median(_repeat(act, LEAST_TIMES, seconds)) * 1000


def _repeat(act: Callable[[], object], least: int, seconds: float) -> list[float]:
    """How long each run of it took: at least so many, within `seconds` at least, but few if they are long."""
    taken: list[float] = []
    begin = now = perf_counter()
    while now - begin < (seconds if len(taken) >= least else LONG_SECONDS):
        act()
        before, now = now, perf_counter()
        taken.append(now - before)
    return taken


def _as_its_user_would(values: dict[str, float], terms: Terms) -> dict[str, float]:
    """A peer that lacks a way does it as it is: that is all that its user can do."""
    for panel, way in _tables():
        for size in terms.transfer_bytes:
            plain = _work(panel, PLAIN, size).name
            if plain in values:
                values.setdefault(_work(panel, way, size).name, values[plain])
    return values


BENCH = Bench(
    name="transfer",
    title="Arrays to tasks and back",
    works=works,
    turn=turn,
    takes_part=PEERS.__contains__,
    floors=("memcpy-warm", "memcpy-cold", "1ms"),
    is_long=True,
    share=130.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
