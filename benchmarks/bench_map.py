# SPDX-License-Identifier: MIT
"""Map a function over ints: items that cost nothing, 1, 10 and 100 us, and 1 ms of CPU; long maps and short ones.

Ours always makes its own chunks. Peers run with what they do when not told, and with the best of a few chunksizes
tried first in the same turn, as a patient user would. Peers that send every item alone unless told otherwise are spared
the long maps in that manner. An item burns CPU time of its own thread, for which 1 us is about the least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from benchmarks import command, peers
from benchmarks.measure import rate, started
from benchmarks.terms import Bench, Terms, Work
from benchmarks.workloads import burn_1_ms, burn_1_us, burn_10_us, burn_100_us, same

DEFAULT = "peer's default"
TUNED = "peer tuned by hand"
NOT_HERE = ("ppe-forkserver", "fifo", "fastworker")  # once started the first is ppe-fork; the others have no map
CHUNKS_A_WORKER = (1, 4, 32)  # the chunksizes tried by hand, as parts of the whole


@dataclass(frozen=True, slots=True)
class Cost:
    """What one item costs, and how many fewer of them make a map of like duration."""

    name: str
    fn: Callable[[int], int]
    divisor: int


COSTS = (
    Cost("0 us", same, 1),
    Cost("1 us", burn_1_us, 2),
    Cost("10 us", burn_10_us, 20),
    Cost("100 us", burn_100_us, 150),
    Cost("1 ms", burn_1_ms, 1500),
)


def works(terms: Terms) -> Sequence[Work]:
    found: list[Work] = []
    for cost in COSTS:
        long, short = _lengths(cost, terms)
        for items in (short, long):
            for manner, least in ((DEFAULT, 2.0), (TUNED, 1.0)):
                goals = {"pool": least} if items == long and cost is COSTS[0] else {}
                found.append(Work(_name(cost, items, manner), "items/s", more_is_better=True, goals=goals))
    return found


def turn(subject: str, terms: Terms) -> dict[str, float]:
    values: dict[str, float] = {}
    with started(subject, terms.workers) as peer:
        for cost in COSTS:
            long, short = _lengths(cost, terms)
            _map(peer, cost, short, _even_chunks(short, terms.workers, 4))  # every worker is up and knows the function
            for items in (long, short):
                if items == short or peers.find(subject).chunks_itself:
                    values[_name(cost, items, DEFAULT)] = _rate(peer, cost, items, None, terms)
                if subject == "localq":
                    values[_name(cost, items, TUNED)] = values[_name(cost, items, DEFAULT)]
                else:
                    best = _best_chunksize(peer, cost, items, terms)
                    values[_name(cost, items, TUNED)] = _rate(peer, cost, items, best, terms)
    return values


def _lengths(cost: Cost, terms: Terms) -> tuple[int, int]:
    """How many items a long map has, and a short one."""
    items = max(terms.map_items // cost.divisor, 4 * terms.workers)
    return items, min(terms.map_items_unchunked, max(items // 10, terms.workers))


def _best_chunksize(peer: peers.Peer, cost: Cost, items: int, terms: Terms) -> int:
    seconds_by_chunksize: dict[int, float] = {}
    for chunks_a_worker in CHUNKS_A_WORKER:
        chunksize = _even_chunks(items, terms.workers, chunks_a_worker)
        begin = perf_counter()
        _map(peer, cost, items, chunksize)
        seconds_by_chunksize[chunksize] = perf_counter() - begin
    return min(seconds_by_chunksize, key=lambda chunksize: seconds_by_chunksize[chunksize])


def _even_chunks(items: int, workers: int, chunks_a_worker: int) -> int:
    return max(1, items // (workers * chunks_a_worker))


def _rate(peer: peers.Peer, cost: Cost, items: int, chunksize: int | None, terms: Terms) -> float:
    return rate(items, lambda: _map(peer, cost, items, chunksize), terms.map_seconds)


def _map(peer: peers.Peer, cost: Cost, items: int, chunksize: int | None) -> None:
    results = list(peer.map(cost.fn, range(items), chunksize))
    if len(results) != items or results[-1] != items - 1:
        raise ValueError(f"asked for {items} results, got {len(results)} ending in {results[-1:]}")


def _name(cost: Cost, items: int, manner: str) -> str:
    return f"{cost.name} an item, {items:,} items, {manner}"


BENCH = Bench(
    name="map",
    title="Map over ints, all CPUs; ours with automatic chunks",
    works=works,
    turn=turn,
    takes_part=lambda name: name not in NOT_HERE,
    share=150.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
