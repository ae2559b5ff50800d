# SPDX-License-Identifier: MIT
"""Tasks that need the results of others: one that 1,000 need which one merges, and a chain of 1,000.

Where a library takes a handle as an argument, as ours does, all is submitted at once and only the last result is
fetched; a task costs the same there as elsewhere, but no result passes through the client. A ProcessPoolExecutor's user
waits for what a task needs before he submits it: so it is done here.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from time import perf_counter

from benchmarks import command, peers
from benchmarks.measure import started
from benchmarks.terms import Bench, Terms, Work
from benchmarks.workloads import one_more, same, total_of

TAKE_HANDLES = ("localq", "ray", "dask")
PEERS = ("ppe-fork", "ray", "dask")
WARM_UP_TASKS = (10, 10, 100)


def works(terms: Terms) -> Sequence[Work]:
    return [
        Work(_fan_name(terms.dependent), "ms", more_is_better=False),
        Work(_chain_name(terms.dependent), "ms", more_is_better=False),
    ]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    takes_handles = subject in TAKE_HANDLES
    fan, chain = (fan_out_and_in, chained) if takes_handles else (fan_waiting_in_between, chained_waiting_in_between)
    with started(subject, terms.workers) as peer:
        return {
            name: _milliseconds(shape, peer, terms)
            for name, shape in ((_fan_name(terms.dependent), fan), (_chain_name(terms.dependent), chain))
        }


def fan_out_and_in(peer: peers.Peer, tasks: int) -> int:
    root = peer.submit(same, 1)
    parts = [peer.submit(one_more, root, number) for number in range(tasks)]
    merged: int = peer.wait(peer.submit(total_of, *parts))
    return merged


def fan_waiting_in_between(peer: peers.Peer, tasks: int) -> int:
    root = peer.wait(peer.submit(same, 1))
    parts = [peer.submit(one_more, root, number) for number in range(tasks)]
    merged: int = peer.wait(peer.submit(total_of, *[peer.wait(part) for part in parts]))
    return merged


def chained(peer: peers.Peer, tasks: int) -> int:
    last = peer.submit(same, tasks)
    for _ in range(tasks):
        last = peer.submit(one_more, last)
    end: int = peer.wait(last)
    return end


def chained_waiting_in_between(peer: peers.Peer, tasks: int) -> int:
    last: int = peer.wait(peer.submit(same, tasks))
    for _ in range(tasks):
        last = peer.wait(peer.submit(one_more, last))
    return last


def _milliseconds(shape: Callable[[peers.Peer, int], int], peer: peers.Peer, terms: Terms) -> float:
    """The median; both shapes of so many tasks come to twice their number."""
    for tasks in WARM_UP_TASKS:
        _check(shape(peer, tasks), tasks)
    taken: list[float] = []
    until = perf_counter() + terms.seconds
    while not taken or perf_counter() < until:
        begin = perf_counter()
        answer = shape(peer, terms.dependent)
        taken.append((perf_counter() - begin) * 1000)
        _check(answer, terms.dependent)
    return statistics.median(taken)


def _check(answer: int, tasks: int) -> None:
    if answer != 2 * tasks:
        raise ValueError(f"{tasks} tasks that need others have come to {answer}, not {2 * tasks}")


def _fan_name(tasks: int) -> str:
    return f"1 task, {tasks:,} that need it, 1 that merges them"


def _chain_name(tasks: int) -> str:
    return f"a chain of {tasks:,} tasks"


BENCH = Bench(
    name="fan",
    title="Tasks that need the results of others, each CPU a worker",
    works=works,
    turn=turn,
    takes_part=PEERS.__contains__,
    is_long=True,
    share=55.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
