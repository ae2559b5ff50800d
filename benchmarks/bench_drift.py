# SPDX-License-Identifier: MIT
"""What is different after ten million calls: throughput and memory then, divided by what they were early on.

One queue; nine calls of ten are items of maps, the tenth is submitted alone. Early is after 100,000 of them. Nothing
should have changed, neither the rates nor the memory, so all values are ratios, and the floor `itself` is 1. What does
change: a queue uses each of its slots in turn, so pages of shared memory are touched for the first time until all have
been used, and no more are afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from benchmarks import command, resident
from benchmarks.measure import rate
from benchmarks.terms import Bench, Terms, Work, aside
from benchmarks.workloads import nothing, same

if TYPE_CHECKING:
    from localq import LocalQueue

ITSELF = "itself"
WARM_SECONDS = 1.0  # half a second after its start the supervisor imports what most workers need
MAPPED = 9  # items of a map for each call that is submitted alone
ALONE, IN_MAPS = "calls submitted one by one, a second", "items of maps, a second"
CLIENT, WORKERS, SHARED = "memory of the client", "memory of supervisor and workers", "shared memory"


def works(terms: Terms) -> Sequence[Work]:
    return [
        Work(_name(what, terms), "x", more_is_better=what in (ALONE, IN_MAPS))
        for what in (ALONE, IN_MAPS, CLIENT, WORKERS, SHARED)
    ]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    from localq import LocalQueue

    with LocalQueue(workers=terms.workers) as queue:
        time.sleep(WARM_SECONDS)
        done = _run(queue, terms.drift_early, terms)
        early, more = _readings(queue, terms)
        _run(queue, terms.drift_late - done - more, terms)
        late, _ = _readings(queue, terms)
    values = {_name(what, terms): late[what] / early[what] for what in early}
    return {**values, **{aside(name, ITSELF): 1.0 for name in values}}


def _run(queue: LocalQueue, calls: int, terms: Terms) -> int:
    """So many calls at least; how many there were."""
    done = 0
    while done < calls:
        alone = min(terms.calls, (calls - done) // (MAPPED + 1) + 1)
        done += _alone(queue, alone) + _in_maps(queue, MAPPED * alone)
    return done


def _readings(queue: LocalQueue, terms: Terms) -> tuple[dict[str, float], int]:
    """Everything as it is now; how many calls that took."""
    memory = {
        CLIENT: resident.settled().private,
        WORKERS: resident.heap_of_descendants(),
        SHARED: resident.shared_of_all(),
    }
    calls = 0

    def rate_of(way: Callable[[LocalQueue, int], int], size: int) -> float:
        def one_pass() -> None:
            nonlocal calls
            calls += way(queue, size)

        return rate(size, one_pass, terms.seconds)

    rates = {ALONE: rate_of(_alone, terms.calls), IN_MAPS: rate_of(_in_maps, MAPPED * terms.calls)}
    return {**memory, **rates}, calls


def _alone(queue: LocalQueue, calls: int) -> int:
    for future in [queue.delay(nothing) for _ in range(calls)]:
        future.result()
    return calls


def _in_maps(queue: LocalQueue, items: int) -> int:
    found = sum(queue.map(same, range(items)))
    if found != items * (items - 1) // 2:
        raise ValueError(f"a map of {items} numbers gave others")
    return items


def _name(what: str, terms: Terms) -> str:
    return f"{what}: after {terms.drift_late:,} / after {terms.drift_early:,}"


BENCH = Bench(
    name="drift",
    title="After many calls, each CPU a worker",
    works=works,
    turn=turn,
    takes_part=lambda name: False,
    floors=(ITSELF,),
    measures_floors=True,
    is_long=True,
    share=35.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
