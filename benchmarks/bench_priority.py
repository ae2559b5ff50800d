# SPDX-License-Identifier: MIT
"""The round trip of an urgent call while many others wait, each 0.1 ms long, and all workers are busy with them.

Ours and Dask's have priorities; elsewhere it takes its place behind the others, fewer there, because they have to end
first. Floor: `empty`, ours a moment before with nothing else to do: what the others cost the urgent one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from benchmarks import command
from benchmarks.terms import Bench, Terms, Work, aside
from benchmarks.trips import percentile, round_trips
from benchmarks.urgent import Pool, started
from benchmarks.workloads import burn_100_us, nothing

PEERS = ("ppe-fork", "pool", "dask")
EMPTY = "empty"
PERCENTS = (50, 95)
PAUSE = 0.001  # before each urgent call: the workers are at others meanwhile
CALLS_A_FILL = 5  # a thousand others are gone after 50 ms: then the queue is filled again...
CALLS_OF_MANY = 100  # ...and a hundred thousand after 5 s: once is enough
LEAST_FILLS = 2
SPARE = 1_000  # room for the urgent ones


def works(terms: Terms) -> Sequence[Work]:
    return [
        Work(_name(others, percent), "us", more_is_better=False) for others in _sizes(terms) for percent in PERCENTS
    ]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    values: dict[str, float] = {}
    for others in _sizes(terms):
        is_many = others == terms.behind_many
        if is_many and subject != "localq":
            continue  # only ours takes so many in a moment
        with started(subject, terms.workers, terms.behind_many + SPARE) as pool:
            _warm_up(pool)
            alone = _alone(pool, terms.seconds / 2) if subject == "localq" else []
            trips = _urgent_trips(pool, others, CALLS_OF_MANY)[0] if is_many else _repeated(pool, others, terms.seconds)
        for percent in PERCENTS:
            name = _name(others, percent)
            values[name] = percentile(trips, percent)
            if alone:
                values[aside(name, EMPTY)] = percentile(alone, percent)
    return values


def _warm_up(pool: Pool) -> None:
    for handle in [pool.submit(burn_100_us, number) for number in range(100)]:
        pool.wait(handle)
    for _ in range(10):
        pool.wait((pool.urgent or pool.submit)(nothing))


def _alone(pool: Pool, seconds: float) -> list[float]:
    return round_trips(lambda: pool.wait((pool.urgent or pool.submit)(nothing)), seconds, PAUSE)


def _repeated(pool: Pool, others: int, seconds: float) -> list[float]:
    trips: list[float] = []
    fills = 0
    until = perf_counter() + seconds
    while perf_counter() < until or fills < LEAST_FILLS:
        found, handles = _urgent_trips(pool, others, CALLS_A_FILL)
        trips += found
        fills += 1
        for handle in handles:
            pool.wait(handle)
    return trips


def _urgent_trips(pool: Pool, others: int, calls: int) -> tuple[list[float], list[Any]]:
    """Microseconds of urgent calls while so many others wait, and what to wait for. Without priorities there is one
    such call: when it is done, so are the others."""
    handles = [pool.submit(burn_100_us, number) for number in range(others)]
    trips: list[float] = []
    for _ in range(1 if pool.urgent is None else calls):
        time.sleep(PAUSE)
        begin = perf_counter()
        pool.wait((pool.urgent or pool.submit)(nothing))
        trips.append((perf_counter() - begin) * 1e6)
    if pool.urgent is not None and handles[-1].done():
        raise RuntimeError(f"the others, {others}, were done before the last of the urgent calls")
    return trips, handles


def _sizes(terms: Terms) -> tuple[int, int]:
    return terms.behind_few, terms.behind_many


def _name(others: int, percent: int) -> str:
    return f"an urgent call, {others:,} others wait, p{percent}"


BENCH = Bench(
    name="priority",
    title="An urgent call while others of 0.1 ms wait, each CPU a worker",
    works=works,
    turn=turn,
    takes_part=PEERS.__contains__,
    floors=(EMPTY,),
    measures_floors=True,
    is_long=True,
    share=45.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
